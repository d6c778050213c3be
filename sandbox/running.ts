// The third door for the rooms of this project above the sandbox: another process in a container that
// runs. It loads a third of what `internal.ts` loads, for `tsvm exec`, which mostly loads itself.
import { ContainerStore, type StoredContainer } from './home/container-store.js';
import { defaultHome, defaultRuntime } from './home/paths.js';

export type { ContainerIo } from './agent/process-io.js';
export { type ExecSpec, exec, execDetached } from './containers/exec.js';
export { SandboxError } from './errors.js';
export type { StoredContainer } from './home/container-store.js';

/**
 * Finds a container of the default home by its name, its ID or the beginning of its ID.
 * @throws SandboxError `no-such-container`, `ambiguous`, `damaged`
 */
export function findContainer(reference: string): StoredContainer {
  const home = defaultHome();
  return new ContainerStore(home, defaultRuntime(home)).find(reference);
}
