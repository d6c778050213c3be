// Proves that programs load fast: V8 keeps their sources in one byte for each character, and finds them
// compiled.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import { builtFile } from '../../../installation/index.js';

const FILES = [
  ...['cli.cjs', 'cli-short.cjs', 'cli-rest.cjs'],
  ...['machine-start.cjs', 'machine-rest.cjs', 'supervisor-start.cjs', 'supervisor-run.cjs'],
];

test.each(FILES)('%s has characters of ASCII alone', (file) => {
  // Also a comment counts, and one character makes the whole source twice as large.
  const others = readFileSync(builtFile(file), 'utf8').match(/.{0,40}[^\0-\x7f].{0,40}/g);
  expect(others).toBeNull();
});

test.each(FILES)('%s is compiled ahead', (file) => {
  const { compiledPath } = createRequire(import.meta.url)('../../../bin/load.cjs');
  const path = builtFile(file);
  expect(existsSync(compiledPath(path, readFileSync(path, 'utf8')))).toBe(true);
});

test.each(['11.3.244.8-node.23', '11.3.244.8-node.38'])('code that V8 %s compiled is for it alone', (v8) => {
  const { compiledPath } = createRequire(import.meta.url)('../../../bin/load.cjs');
  // The two differ in patches of Node.js alone, and each takes the other's code.
  const versions = { value: { ...process.versions, v8 } };
  const real = Object.getOwnPropertyDescriptor(process, 'versions') ?? {};
  Object.defineProperty(process, 'versions', versions);
  try {
    expect(compiledPath('cli.cjs', '0;\n//0123')).toBe(`cli.cjs.0123.${v8}`);
  } finally {
    Object.defineProperty(process, 'versions', real);
  }
});

// A saved machine is continued by a program with the same bytes in `machine.cjs` alone.
test('machine.cjs names the digests of all that it loads', () => {
  const files = ['load.cjs', 'machine-start.cjs', 'machine-rest.cjs', 'vcpu.cjs'];
  const named = [...readFileSync(builtFile('machine.cjs'), 'utf8').matchAll(/^\/\/ (\S+) ([0-9a-f]{64})$/gm)];
  const digest = (file: string) =>
    createHash('sha256')
      .update(readFileSync(builtFile(file)))
      .digest('hex');
  expect(named.map(([, file, sum]) => [file, sum])).toEqual(files.map((file) => [file, digest(file)]));
});
