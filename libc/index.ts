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
}

let loaded: Libc | undefined;

/**
 * Returns the C library. The first call loads koffi, which takes about 10 ms. Most short commands
 * never need it.
 */
export function loadLibc(): Libc {
  if (loaded === undefined) {
    const koffi = createRequire(import.meta.url)(typeof KOFFI === 'undefined' ? 'koffi' : KOFFI) as typeof Koffi;
    loaded = { koffi, library: koffi.load('libc.so.6') };
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

/** Returns `errno` after the calling thread's last call. */
export function errno(): number {
  return loadLibc().koffi.errno();
}
