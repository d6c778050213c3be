// Proves that the files generated from the table of the agent protocol are up to date.
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';

test('the generated files are up to date', () => {
  const generator = new URL('../../../guest-agent/protocol/generate.mjs', import.meta.url).pathname;
  expect(execFileSync(process.execPath, [generator, '--check'], { encoding: 'utf8' })).toBe('');
});
