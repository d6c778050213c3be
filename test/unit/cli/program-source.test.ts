// Proves that V8 keeps the source of the command in one byte for each character.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { builtFile } from '../../../installation/index.js';

test('the built command has characters of ASCII alone', () => {
  // Also a comment counts, and one character makes the whole source twice as large.
  const others = readFileSync(builtFile('cli.cjs'), 'utf8').match(/.{0,40}[^\0-\x7f].{0,40}/g);
  expect(others).toBeNull();
});
