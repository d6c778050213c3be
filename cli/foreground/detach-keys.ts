// Watches what is typed for the keys that leave a container and let it run.
import { Transform } from 'node:stream';

/** Bytes, in the order in which they are typed. */
export type DetachKeys = readonly number[];

/** What is typed but the keys; `onKeys` is called once when they were typed, and nothing passes after that. */
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
        // What looked like the keys was something else.
        passed.push(...keys.slice(0, matched));
        matched = byte === keys[0] ? 1 : 0;
        if (matched === 0) passed.push(byte);
      }
      done(null, passed.length > 0 ? Buffer.from(passed) : undefined);
    },
  });
  return input.pipe(filter);
}
