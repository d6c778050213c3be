// Where the default home is. The only place that reads the environment for it, and small: the machine process is started
// before anything else is loaded.
import { homedir } from 'node:os';
import { join } from 'node:path';

/** $TSVM_HOME, or $XDG_DATA_HOME/tsvm, or ~/.local/share/tsvm. */
export function defaultHome(): string {
  const { TSVM_HOME, XDG_DATA_HOME } = process.env;
  return TSVM_HOME || join(XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'tsvm');
}

/** The file in the home at `path` that keeps the verdict of the KVM probe between runs. */
export function probeCachePath(path: string): string {
  return join(path, 'kvm-probe.json');
}
