// The program of a container, looked up when the container is created: engines tell their users of a
// program that is missing (127) or that cannot be executed (126) by runc's words at `create`.

import { OciError } from '../config/oci-error.js';
import type { Translation } from '../config/translate.js';
import { ContainerRoot, type Found } from './container-root.js';

const EXECUTE = 0o111;

/** What the C library says of an errno, in Go's spelling. */
const REASONS: Partial<Record<string, string>> = {
  ENOENT: 'no such file or directory',
  ENOTDIR: 'not a directory',
  ELOOP: 'too many levels of symbolic links',
  ENAMETOOLONG: 'file name too long',
};

/**
 * Checks that the container has its program. What cannot be known yet is left to the start: a program in a
 * file system of the guest, its interpreter, what the container's user may do.
 * @param opened descriptors (O_PATH) of the translation's shares
 * @throws OciError in runc's words
 */
export function checkProgram(translation: Translation, opened: readonly number[]): void {
  const { argv, env = [], cwd = '/' } = translation.process;
  const [name = ''] = argv;
  const root = new ContainerRoot(translation, opened);
  if (name.includes('/')) checkFile(name, root.look(name, cwd));
  else if (!isInPath(root, name, env, cwd)) refuse(name, 'executable file not found in $PATH');
}

function refuse(name: string, reason: string): never {
  throw new OciError(`exec: "${name}": ${reason}`);
}

function checkFile(name: string, found: Found): void {
  if (found.kind === 'absent' && REASONS[found.code] !== undefined) {
    refuse(name, `stat ${name}: ${REASONS[found.code]}`);
  }
  if (!mayExecute(found) && found.kind === 'file') refuse(name, 'permission denied');
}

/** Like Go's LookPath: what is not executable is passed over. */
function isInPath(root: ContainerRoot, name: string, env: readonly string[], cwd: string): boolean {
  const path = env.findLast((variable) => variable.startsWith('PATH='))?.slice('PATH='.length);
  if (path === undefined || name === '') return false;
  return path.split(':').some((folder) => mayExecute(root.look(`${folder || '.'}/${name}`, cwd)));
}

function mayExecute(found: Found): boolean {
  if (found.kind !== 'file') return found.kind === 'unknown' || REASONS[found.code] === undefined;
  return !found.status.isDirectory() && (found.status.mode & EXECUTE) !== 0;
}
