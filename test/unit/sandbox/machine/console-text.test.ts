// Proves that no bytes of a guest's console control a terminal, in whatever pieces they come, and
// that plain text passes unchanged.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ConsoleText } from '../../../../sandbox/machine/console-text.js';

function shown(...pieces: (string | Uint8Array)[]): string {
  const text = new ConsoleText();
  return pieces.map((piece) => text.write(Buffer.from(piece as string))).join('');
}

test.each([
  ["a kernel's lines", '[    0.1] Linux\r\n\tindented\n', '[    0.1] Linux\r\n\tindented\n'],
  ['letters of all languages', 'é 日本 🙂\n', 'é 日本 🙂\n'],
  ['a clipboard', '\x1b]52;c;eA==\x07', '\\x1b]52;c;eA==\\x07'],
  ['a cleared screen', '\x1b[2J\x1b[H', '\\x1b[2J\\x1b[H'],
  ['C1 in UTF-8', '\u009b2J', '\\x9b2J'],
  ['a line that is written over', 'evil\rgood\n', 'evil\\x0dgood\n'],
  ['an erased character', 'a\bb\x7f', 'a\\x08b\\x7f'],
  ['text from right to left', '\u202egpj.exe\u2066', '\\u202egpj.exe\\u2066'],
  ['NUL', 'a\0b', 'a\\x00b'],
])('%s', (_, text, expected) => {
  expect(shown(text)).toBe(expected);
});

test('C1 as a single byte is no character of UTF-8', () => {
  expect(shown(Uint8Array.of(0x9b, 0x32, 0x4a))).toBe('\ufffd2J');
});

test('pieces do not matter', () => {
  const bytes = fc.oneof(
    fc.uint8Array(),
    fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)),
  );
  const mixed = fc.array(
    fc.oneof(
      bytes,
      fc.constantFrom('\r', '\n', '\r\n', '\x1b[').map((it) => Buffer.from(it)),
    ),
  );
  fc.assert(
    fc.property(mixed, (pieces) => {
      const text = shown(...pieces);
      expect(text).toBe(shown(Buffer.concat(pieces)));
      expect(text.replaceAll('\r\n', '')).not.toMatch(/[\0-\x08\x0b-\x1f\x7f-\x9f]/);
    }),
  );
});
