// Proves that the command loads fast: V8 keeps its source in one byte for each character, and finds it
// compiled.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import { builtFile } from '../../../installation/index.js';

test('the built command has characters of ASCII alone', () => {
  // Also a comment counts, and one character makes the whole source twice as large.
  const others = readFileSync(builtFile('cli.cjs'), 'utf8').match(/.{0,40}[^\0-\x7f].{0,40}/g);
  expect(others).toBeNull();
});

test('the built command is compiled ahead', () => {
  const { compiledPath } = createRequire(import.meta.url)('../../../bin/load.cjs');
  const path = builtFile('cli.cjs');
  expect(existsSync(compiledPath(path, readFileSync(path, 'utf8')))).toBe(true);
});
