// The SDK's examples run unchanged and print what they should.
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { fastest, run } from './machine.js';

const EXAMPLES = fileURLToPath(new URL('../../examples', import.meta.url));
const BUILT = fileURLToPath(new URL('../../dist/examples', import.meta.url));

const SAID: Record<string, string> = {
  run: 'debian on Linux 3\n',
  streams: 'a\nb\nnobody in /tmp with value\nexit 143\n',
  files: 'hello\ngreeting file 6\nno-such-file\nmore true\n',
  limits: 'timeout\nhog 137\nTimeoutError\ntrue true\nnot-found\n',
};

test('every example is run', () => {
  expect(readdirSync(EXAMPLES).sort()).toEqual(
    Object.keys(SAID)
      .map((name) => `${name}.ts`)
      .sort(),
  );
});

describe.each(fastest)('on $name', (machine) => {
  test.each(Object.keys(SAID))('%s', async (name) => {
    const result = await run(machine, [process.execPath, `${BUILT}/${name}.js`]);
    expect(result).toEqual({ code: 0, stdout: SAID[name], stderr: '' });
  });
});
