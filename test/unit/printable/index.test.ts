// Proves that nothing that an image, a registry or a guest says acts on the caller's terminal.
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { formatList, formatObjects } from '../../../cli/output/listing.js';
import { printableJson, printableLine, printableName, printableText } from '../../../printable/index.js';

/**
 * Clears the screen, sets the title and the clipboard, turns text round; then C1 forms of the same.
 */
const HARMFUL = '\x1b[2J\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x07\u202egpj.exe\u009b2J\u2066\r\b\x7f';
/** What acts on a terminal, but for lines and tabs. */
const ACTS = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
const COLUMNS = [
  ['NAME', 'Name'],
  ['ID', 'Id'],
] as const;

const { isTTY } = process.stdout;
afterEach(() => {
  process.stdout.isTTY = isTTY;
});

test.each<[string, string | undefined, boolean]>([
  ['a table', undefined, false],
  ['a table of a template', 'table {{.Name}}\t{{.Id}}', false],
  ['JSON', 'json', false],
  ['JSON of a template', '{{json .Name}}', false],
  ['a template at a terminal', '{{.Name}} {{.Id}}', true],
])('%s has no harmful character', (_, format, terminal) => {
  process.stdout.isTTY = terminal;
  const rows = [{ Name: HARMFUL, Id: `a\nb\tc${HARMFUL}` }];
  expect(formatList(rows, COLUMNS, format)).not.toMatch(ACTS);
  expect(formatObjects(rows, format?.startsWith('table') ? '{{json .}}' : format)).not.toMatch(ACTS);
});

test('a template gives a pipe what there is', () => {
  process.stdout.isTTY = false;
  expect(formatObjects([{ Name: HARMFUL }], '{{.Name}}')).toBe(`${HARMFUL}\n`);
});

test('ordinary text of any script stays, emoji too', () => {
  const text = 'Zürich 東京 הלו 👩‍👩‍👧 é';
  expect([printableLine(text), printableName(text), printableText(text)]).toEqual([text, text, text]);
  expect(printableJson({ text })).toBe(JSON.stringify({ text }));
  expect(printableText('a\n\tb')).toBe('a\n\tb');
  expect(printableLine('a\r\n\tb')).toBe('a b');
  expect(printableName('a\nb')).toBe('a?b');
});

test('any text becomes harmless, and JSON keeps its value', () => {
  const text = fc
    .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 20 })
    .map((codes) => String.fromCharCode(...codes));
  fc.assert(
    fc.property(text, (value) => {
      for (const shown of [printableLine(value), printableName(value), printableText(value), printableJson(value)]) {
        expect(shown).not.toMatch(ACTS);
      }
      expect(JSON.parse(printableJson([value]))).toEqual([value]);
    }),
  );
});
