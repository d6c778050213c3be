// Files that the process was started with, and that only the kernel looks at: a lock. They are to be
// known before any thread starts: a file that a thread reads, its own code for one, is open for a
// moment with a number that the next file gets.
import { fstatSync } from 'node:fs';

/** After the standard streams, the control socket and /dev/kvm. */
const FIRST = 5;
/** Files that a launcher leaves open have lower numbers than the next. */
const LAST = 63;

/** Descriptors of the regular files among those that the process was started with. */
export function inheritedFiles(): number[] {
  const all = Array.from({ length: LAST + 1 - FIRST }, (_, index) => FIRST + index);
  return all.filter((fd) => {
    try {
      return fstatSync(fd).isFile();
    } catch {
      return false;
    }
  });
}
