// Labels of --label and of the lines of --label-file.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseLabel, readLabelFile } from '../../../../cli/options/labels.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
});
afterAll(() => rmSync(folder, { recursive: true }));

function file(content: string): string {
  const path = join(folder, 'labels');
  writeFileSync(path, content);
  return path;
}

test.each([
  ['a=b', ['a', 'b']],
  ['a=b=c', ['a', 'b=c']],
  ['a=', ['a', '']],
  ['a', ['a', '']],
])('%s is name and value', (text, label) => expect(parseLabel(text)).toEqual(label));

test.each(['', '=a'])('%j has no name', (text) => {
  expect(() => parseLabel(text)).toThrow(`invalid argument '${text}' for --label: expected NAME or NAME=VALUE`);
});

test('a file has a label on each line; comments and empty lines are skipped', () => {
  expect(readLabelFile(file('a=1\n\n# no\r\nb=x y\r\nc'))).toEqual([
    ['a', '1'],
    ['b', 'x y'],
    ['c', ''],
  ]);
});

test('an error tells the number of the line', () => {
  const path = file('a=1\n=2\n');
  expect(() => readLabelFile(path)).toThrow(`label file ${path}, line 2: the label has no name`);
});

test('a missing file is one clear error', () => {
  expect(() => readLabelFile('/nonexistent')).toThrow('cannot read label file /nonexistent: ENOENT');
});
