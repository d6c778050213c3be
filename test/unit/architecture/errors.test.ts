// No code casts a thrown value: a `catch` binds `unknown`, and errors/ or `instanceof` determines
// its type.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const project = fileURLToPath(new URL('../../..', import.meta.url));
const FOLDERS = [
  'addresses',
  'cli',
  'errors',
  'examples',
  'images',
  'kernels',
  'libc',
  'sandbox',
  'service',
  'test',
  'vmm',
];

/** A cast of a variable named like an error, or to a class of errors. */
const CAST = /\b(?:error|cause|reason) as |\bas (?:NodeJS\.ErrnoException|[A-Z]\w*Error)\b/;

test('no error is cast', () => {
  const casts = FOLDERS.flatMap((folder) =>
    readdirSync(`${project}/${folder}`, { recursive: true })
      .map((path) => `${folder}/${path}`)
      .filter((path) => path.endsWith('.ts') && path !== 'test/unit/architecture/errors.test.ts')
      .flatMap((path) =>
        readFileSync(`${project}/${path}`, 'utf8')
          .split('\n')
          .flatMap((line, index) => (CAST.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
      ),
  );
  expect(casts).toEqual([]);
});
