// The keys that leave a container and let it run, as Docker writes them: `ctrl-p,ctrl-q`.
import { Transform } from 'node:stream';
import { UsageError } from '../output/errors.js';

/** Bytes, in the order in which they are typed. */
export type DetachKeys = readonly number[];

export const DEFAULT_DETACH_KEYS: DetachKeys = [0x10, 0x11];

/**
 * Letters, or `ctrl-` and one of `a` to `z`, `@`, `[`, `\`, `]`, `^`, `_`; separated by commas.
 * @throws UsageError
 */
export function parseDetachKeys(text: string): DetachKeys {
  return text.split(',').map((key) => {
    const control = /^ctrl-([a-z@[\\\]^_])$/i.exec(key);
    if (control !== null) return control[1].toUpperCase().charCodeAt(0) & 0x1f;
    if (/^[\x20-\x7e]$/.test(key)) return key.charCodeAt(0);
    throw new UsageError(`invalid argument '${text}' for --detach-keys: such as ctrl-p,ctrl-q or ctrl-x,x`);
  });
}

/** Parser and default of `--detach-keys`. */
export const DETACH_KEYS: [typeof parseDetachKeys, DetachKeys] = [parseDetachKeys, DEFAULT_DETACH_KEYS];

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
