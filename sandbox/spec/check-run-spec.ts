// Checks a whole run spec.
import { checkParentName } from '../cgroup/parent-name.js';
import { SandboxError } from '../errors.js';
import { acceleratorOf } from '../isolation.js';
import { checkDevices } from './devices.js';
import { checkLimits } from './limits.js';
import { checkMounts } from './mounts.js';
import { checkNetwork } from './network.js';
import { checkCwd, checkEnvironment } from './process-spec.js';
import { DEFAULT_MEMORY, MIN_MEMORY, type RunSpec } from './run-spec.js';

const MIB = 2 ** 20;

/**
 * Refuses a spec that no machine could be made of. Called once, when the container is created.
 * @throws SandboxError `bad-spec`, `isolation`
 */
export function checkRunSpec(spec: RunSpec): void {
  const { memory = DEFAULT_MEMORY, hostname, cwd, env = {} } = spec;
  checkLimits(spec);
  if (spec.cgroupParent !== undefined) checkParentName(spec.cgroupParent);
  if (memory < MIN_MEMORY) {
    throw new SandboxError('bad-spec', `minimum memory limit allowed is ${MIN_MEMORY / MIB}MB`);
  }
  if (hostname !== undefined && !/^[A-Za-z0-9._-]{1,64}$/.test(hostname)) {
    throw new SandboxError('bad-spec', `invalid hostname '${hostname}': 1 to 64 letters, digits, dots and hyphens`);
  }
  checkCwd(cwd);
  checkEnvironment(env);
  checkDevices(spec.devices);
  checkNetwork(spec.network ?? {});
  checkMounts(spec.mounts ?? [], spec.tmpfs ?? []);
  acceleratorOf(spec);
}
