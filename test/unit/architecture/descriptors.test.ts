// Whatever is disposed of twice closes its descriptors once: in a process that has several machines,
// the number is another machine's by then. A machine process has one machine, which ends with it.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const project = fileURLToPath(new URL('../../..', import.meta.url));
const FOLDERS = ['build', 'cli', 'images', 'kernels', 'oci', 'sandbox', 'service', 'vmm/outside'];

/** A disposal up to the end of its body, or of its line. */
const DISPOSAL =
  /^( *)(?:async )?\[Symbol\.(?:d|asyncD)ispose\](?:\(\)[^{\n]*\{\n[\s\S]*?\n\1\}|: .*)|\{ \[Symbol\.dispose\].*/gm;
/** Closes a descriptor by its number. */
const CLOSE = /\b(?:closeSync|libc\.close)\(/;
/** Forgets the number. */
const FORGET = /\.splice\(0\)|\.take\(\)|= undefined;/;

test('a disposal that closes descriptors forgets them', () => {
  const paths = FOLDERS.flatMap((folder) =>
    readdirSync(`${project}/${folder}`, { recursive: true }).map((path) => `${folder}/${path}`),
  ).filter((path) => path.endsWith('.ts'));
  const disposals = paths.flatMap((path) =>
    [...readFileSync(`${project}/${path}`, 'utf8').matchAll(DISPOSAL)].map(([text]) => ({ path, text })),
  );
  const closing = disposals.filter(({ text }) => CLOSE.test(text));
  expect(closing.map(({ path }) => path)).toContain('sandbox/machine/machine-files.ts');
  expect(closing.filter(({ text }) => !FORGET.test(text))).toEqual([]);
});
