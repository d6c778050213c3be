// Watches the input for the detach keys, which leave a container running.
import { Transform } from 'node:stream';

/** Bytes in the order in which they are typed. */
export type DetachKeys = readonly number[];

/**
 * Passes the input on without the keys. When they were typed, calls `onKeys` once and passes
 * nothing more.
 */
export function watchForKeys(input: NodeJS.ReadableStream, keys: DetachKeys, onKeys: () => void): Transform {
  let matched = 0;
  let left = false;
  const filter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const passed: number[] = [];
      for (const byte of chunk) {
        if (left) break;
        if (byte === keys[matched]) {
          matched++;
          if (matched < keys.length) continue;
          left = true;
          onKeys();
          break;
        }
        // The bytes that were held back are not the keys.
        passed.push(...keys.slice(0, matched));
        matched = byte === keys[0] ? 1 : 0;
        if (matched === 0) passed.push(byte);
      }
      done(null, passed.length > 0 ? Buffer.from(passed) : undefined);
    },
  });
  return input.pipe(filter);
}
