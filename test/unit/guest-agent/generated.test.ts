// The files that are generated from the table of the agent protocol follow from it.
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';

test('the table of the protocol gives the generated files as they are', () => {
  const generator = new URL('../../../guest-agent/protocol/generate.mjs', import.meta.url).pathname;
  expect(execFileSync(process.execPath, [generator, '--check'], { encoding: 'utf8' })).toBe('');
});
