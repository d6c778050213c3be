// The state folder that lives on: images, scratch disks, what is known of this host.
import { homedir } from 'node:os';
import { join } from 'node:path';

/** $TSVM_HOME, or $XDG_DATA_HOME/tsvm, or ~/.local/share/tsvm. */
export function tsvmHome(): string {
  const { TSVM_HOME, XDG_DATA_HOME } = process.env;
  return TSVM_HOME || join(XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'tsvm');
}

/** The file that keeps the verdict of the KVM probe between runs. */
export function probeCachePath(home = tsvmHome()): string {
  return join(home, 'kvm-probe.json');
}
