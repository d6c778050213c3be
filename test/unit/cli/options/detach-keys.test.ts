// The detach keys are parsed, and taken out of the input.
import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { watchForKeys } from '../../../../cli/foreground/detach-keys.js';
import { DEFAULT_DETACH_KEYS, parseDetachKeys } from '../../../../cli/options/detach-keys.js';

async function typed(chunks: string[], keys = DEFAULT_DETACH_KEYS): Promise<{ passed: string; left: number }> {
  const input = new PassThrough();
  let left = 0;
  const output = watchForKeys(input, keys, () => left++);
  for (const chunk of chunks) input.write(chunk);
  input.end();
  let passed = '';
  for await (const chunk of output) passed += chunk;
  return { passed, left };
}

describe('the detach keys', () => {
  test.each([
    [['text'], 'text', 0],
    [['a\x10\x11b'], 'a', 1],
    [['a\x10', '\x11'], 'a', 1],
    [['\x10x'], '\x10x', 0],
    [['\x10\x10\x11'], '\x10', 1],
    [['\x10', '\x10', 'x'], '\x10\x10x', 0],
  ])('%j pass as %j, with the keys found %d times', async (chunks, passed, left) => {
    expect(await typed(chunks)).toEqual({ passed, left });
  });

  test("are written in Docker's form", async () => {
    expect(parseDetachKeys('ctrl-p,ctrl-q', '--detach-keys')).toEqual(DEFAULT_DETACH_KEYS);
    expect(await typed(['1\x18x2'], parseDetachKeys('ctrl-x,x', '--detach-keys'))).toEqual({ passed: '1', left: 1 });
    for (const wrong of ['', 'ctrl-', 'ab', 'ctrl-1', 'a,,b'])
      expect(() => parseDetachKeys(wrong, '--detach-keys')).toThrow(/invalid argument/);
  });
});
