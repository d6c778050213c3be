// The C library through koffi, for calls that Node.js has no binding for. Every room may import
// this.
import { createRequire } from 'node:module';
import type Koffi from 'koffi';
import type { LibraryHandle } from 'koffi';

/** The build's own copy of koffi, relative to its bundles. Programs that run from source have none. */
declare const KOFFI: string | undefined;

/** koffi itself, and the C library that it has opened. */
export interface Libc {
  koffi: typeof Koffi;
  library: LibraryHandle;
  /** This thread's `errno` itself, one word. */
  errno: Int32Array;
}

let loaded: Libc | undefined;

/**
 * Returns the C library. The first call loads koffi, which takes about 10 ms. Most short commands
 * never need it.
 */
export function loadLibc(): Libc {
  if (loaded === undefined) {
    const koffi = createRequire(import.meta.url)(typeof KOFFI === 'undefined' ? 'koffi' : KOFFI) as typeof Koffi;
    const library = koffi.load('libc.so.6');
    const address = library.func('__errno_location', 'long', [])();
    loaded = { koffi, library, errno: new Int32Array(koffi.view(address, Int32Array.BYTES_PER_ELEMENT)) };
  }
  return loaded;
}

/**
 * Returns a function of the C library. Its first call binds it.
 * @param prototype as declared in C: `int flock(int fd, int operation)`
 */
export function libcFunction<Arguments extends unknown[]>(prototype: string): (...args: Arguments) => number {
  let bound: ((...args: Arguments) => number) | undefined;
  return (...args) => {
    bound ??= loadLibc().library.func(prototype) as (...args: Arguments) => number;
    return bound(...args);
  };
}

/**
 * Returns `errno` after the calling thread's last call. It is read from where it lies, with as
 * little as possible in between: V8 makes calls of its own at any time, of which some fail.
 */
export function errno(): number {
  return loaded?.errno[0] ?? 0;
}
