// The options of mounts that are understood.
import { OciError } from './oci-error.js';

/** A machine has no other way than these words say, or they change nothing that its programs see. */
const WORDS: ReadonlySet<string> = new Set([
  ...['bind', 'rbind', 'defaults', 'ro', 'rw', 'rro', 'suid', 'nosuid', 'dev', 'nodev', 'exec', 'noexec'],
  ...['private', 'rprivate', 'slave', 'rslave', 'unbindable', 'runbindable', 'sync', 'async', 'dirsync'],
  ...['atime', 'noatime', 'diratime', 'nodiratime', 'relatime', 'norelatime', 'strictatime', 'nostrictatime'],
  ...['lazytime', 'nolazytime', 'iversion', 'noiversion', 'mand', 'nomand', 'silent', 'loud'],
]);

/** @throws OciError for an option that has no effect in a machine */
export function mountWord(path: string, option: string): void {
  if (!WORDS.has(option)) throw new OciError(`mount ${path}: ${option} is not supported`);
}
