// Random bytes of the host, read from a file that is open from the start: so the machine process has
// one system call less than with getrandom(2), and node:crypto, which seeds itself again now and
// then, is not needed once its filter is on (accel/system-calls.ts).
import { keep } from './kept-descriptors.js';
import * as libc from './libc.js';

let source = libc.check(libc.open('/dev/urandom', libc.O_RDONLY | libc.O_CLOEXEC, 0), 'open /dev/urandom');
const word = new Uint32Array(1);

/** Where the process serves shares. */
export function keepRandomSource(): void {
  source = keep(source);
}

/** Fills memory with random bytes. Returns how many, or -1, as read(2) does. */
export function fillRandom(memory: libc.Address, length: number): number {
  return libc.read(source, memory, length);
}

/** A random number below 2^32. */
export function randomWord(): number {
  if (fillRandom(word, 4) !== 4) throw new libc.SystemError('read /dev/urandom', libc.errno());
  return word[0]!;
}

/** A random number of `least` to `end` - 1, each as likely as the others. */
export function randomBetween(least: number, end: number): number {
  const count = end - least;
  const fair = 2 ** 32 - (2 ** 32 % count);
  for (;;) {
    const drawn = randomWord();
    if (drawn < fair) return least + (drawn % count);
  }
}
