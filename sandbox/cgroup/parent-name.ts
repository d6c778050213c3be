// The name of the folder that a caller gives for the cgroups of machines.
import { SandboxError } from '../errors.js';

/** The environment variable with the folder for machines that have none. */
const VARIABLE = 'TSVM_CGROUP_PARENT';

/** The folder that the spec or the environment asks for. @throws SandboxError `bad-spec` */
export function givenParent(spec: string | undefined): string | undefined {
  const path = spec ?? (process.env[VARIABLE] || undefined);
  if (path !== undefined) checkParentName(path);
  return path;
}

/** @throws SandboxError `bad-spec` for a name that is none */
export function checkParentName(path: string): void {
  if (path === '' || /[\0\n]/.test(path) || path.split('/').includes('..')) {
    throw new SandboxError('bad-spec', `invalid cgroup parent ${JSON.stringify(path)}: use a folder of cgroup v2`);
  }
}
