// Where the default home and the default runtime folder are. The only file that reads the
// environment for them. It is small because the machine process, which needs it, starts before
// anything else is loaded.
import { lstatSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** `$TSVM_HOME`, or `$XDG_DATA_HOME/tsvm`, or `~/.local/share/tsvm`. */
export function defaultHome(): string {
  const { TSVM_HOME, XDG_DATA_HOME } = process.env;
  return TSVM_HOME || join(XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'tsvm');
}

/**
 * `$XDG_RUNTIME_DIR/tsvm` or `/tmp/tsvm-UID`: the folder for sockets, which need short paths. Any
 * user may make that name in /tmp. If another did, the folder is `run` in the home at `home`, and
 * stays there.
 * @param temporary instead of /tmp, for tests
 */
export function defaultRuntime(home = defaultHome(), temporary = '/tmp'): string {
  const uid = process.getuid!();
  const base = process.env.XDG_RUNTIME_DIR;
  // After su or sudo the variable may name the folder of another user.
  const usable = base !== undefined && statSync(base, { throwIfNoEntry: false })?.uid === uid;
  if (usable) return join(base, 'tsvm');
  const [own, shared] = [join(home, 'run'), join(temporary, `tsvm-${uid}`)];
  const isTaken = (lstatSync(shared, { throwIfNoEntry: false })?.uid ?? uid) !== uid;
  return isTaken || lstatSync(own, { throwIfNoEntry: false }) !== undefined ? own : shared;
}

/** Path of the cached verdict of the KVM probe in the home at `path`. */
export function probeCachePath(path: string): string {
  return join(path, 'kvm-probe.json');
}
