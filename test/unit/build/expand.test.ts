// The expansion of variables: the Dockerfile reference's "Environment replacement", and properties
// that hold for any word.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { expandText, expandWord, expandWords } from '../../../build/dockerfile/expand.js';
import { messageOf } from '../../../errors/index.js';

const VARIABLES: Record<string, string> = {
  HOME: '/home',
  SHELL: 'bash',
  EMPTY: '',
  SPACES: 'a b  c',
  PATH: '/usr/local/bin:/usr/bin',
  FILE: 'archive.tar.gz',
  GREEK: 'ατ',
  x1: 'one',
};
const lookup = (name: string) => VARIABLES[name];
const expand = (word: string) => expandWord(word, lookup, '\\');

test.each([
  // Words without variables.
  ['', ''],
  ['abc', 'abc'],
  ['a\\bc', 'abc'],
  ['\\$HOME', '$HOME'],
  ['\\\\$HOME', '\\/home'],
  ['"abc"', 'abc'],
  ["'abc'", 'abc'],
  ["'$HOME'", '$HOME'],
  ['"$HOME"', '/home'],
  ['"\\$HOME"', '$HOME'],
  ['"a\\"b"', 'a"b'],
  ['"a\\nb"', 'a\\nb'],
  ["'a\\nb'", 'a\\nb'],
  ["'a'\\''b'", "a'b"],
  ['abc"def"\'ghi\'', 'abcdefghi'],
  ['a\\', 'a'],
  // Names.
  ['$HOME', '/home'],
  ['${HOME}', '/home'],
  ['${HOME}x', '/homex'],
  ['$HOMEx', ''],
  ['$HOME/x', '/home/x'],
  ['$x1', 'one'],
  ['$1x', 'x'],
  ['$', '$'],
  ['$:', '$:'],
  ['a$', 'a$'],
  ['$-', ''],
  ['${GREEK}', 'ατ'],
  ['$SPACES', 'a b  c'],
  ['$UNSET', ''],
  ['${UNSET}', ''],
  // The reference's own table of modifiers.
  ['${UNSET:-word}', 'word'],
  ['${EMPTY:-word}', 'word'],
  ['${EMPTY-word}', ''],
  ['${UNSET-word}', 'word'],
  ['${HOME:-word}', '/home'],
  ['${HOME:+word}', 'word'],
  ['${EMPTY:+word}', ''],
  ['${EMPTY+word}', 'word'],
  ['${UNSET:+word}', ''],
  ['${UNSET+word}', ''],
  ['${HOME:?}', '/home'],
  ['${EMPTY?}', ''],
  ['${UNSET:-}', ''],
  ['${UNSET:-${HOME}}', '/home'],
  ['${UNSET:-${EMPTY:-${SHELL}}}', 'bash'],
  ['${UNSET:-"a b"}', 'a b'],
  ["${UNSET:-'$HOME'}", '$HOME'],
  ['${UNSET:-\\}}', '}'],
  ['"${UNSET:-a"b"c}"', 'abc'],
  ['${FILE#*.}', 'tar.gz'],
  ['${FILE##*.}', 'gz'],
  ['${FILE%.*}', 'archive.tar'],
  ['${FILE%%.*}', 'archive'],
  ['${FILE#archive}', '.tar.gz'],
  ['${FILE#x}', 'archive.tar.gz'],
  ['${FILE%?}', 'archive.tar.g'],
  ['${FILE#???}', 'hive.tar.gz'],
  ['${FILE#\\*}', 'archive.tar.gz'],
  ['${FILE/a/x}', 'xrchive.tar.gz'],
  ['${FILE//a/x}', 'xrchive.txr.gz'],
  ['${FILE/./}', 'archivetar.gz'],
  ['${FILE//[/x}', 'archive.tar.gz'],
  ['${PATH/bin*/x}', '/usr/local/x'],
  ['${UNSET/a/b}', ''],
  ['${UNSET%a}', ''],
  ['a${HOME}b$SHELL', 'a/homebbash'],
])('%s is %j', (word, expected) => {
  expect(expand(word)).toBe(expected);
});

test.each([
  ['${', "missing '}'"],
  ['${HOME', "missing '}'"],
  ['${}', 'bad substitution'],
  ['${:-a}', 'bad substitution'],
  ['${HOME:-a', 'looking for matching }'],
  ['${HOME:xa}', 'unsupported modifier (:x)'],
  ['${HOME!a}', 'unsupported modifier (!)'],
  ['${HOME:#a}', 'unsupported modifier (:#)'],
  ['${UNSET?}', 'UNSET: not allowed to be unset'],
  ['${EMPTY:?}', 'EMPTY: not allowed to be empty'],
  ['${UNSET:?needed}', 'UNSET: needed'],
  ["'abc", 'single-quote'],
  ['"abc', 'double-quote'],
  ['${FILE/a', 'looking for matching /'],
])('%s is refused', (word, message) => {
  expect(() => expand(word)).toThrow(message);
});

test('the other escape character', () => {
  expect(expandWord('`$HOME\\x', lookup, '`')).toBe('$HOME\\x');
});

describe('several words', () => {
  test.each([
    ['a b', ['a', 'b']],
    ['  a\t b ', ['a', 'b']],
    ['"a b" c', ['a b', 'c']],
    ['$SPACES', ['a', 'b', 'c']],
    ['"$SPACES"', ['a b  c']],
    ['x$SPACES', ['xa', 'b', 'c']],
    ['$EMPTY', []],
    ['"$EMPTY"', ['']],
    ['a\\ b', ['a b']],
    ['', []],
  ])('%s', (text, expected) => {
    expect(expandWords(text, lookup, '\\')).toEqual(expected);
  });
});

test('in a heredoc, quotes are text', () => {
  expect(expandText('a "$HOME" \'$SHELL\' \\$HOME \\n\n', lookup, '\\')).toBe('a "/home" \'bash\' $HOME \\n\n');
});

describe('hostile words', () => {
  test('a word that doubles itself is bounded', () => {
    const huge = 'x'.repeat(2 ** 17);
    expect(() => expandWord('$A'.repeat(64), () => huge, '\\')).toThrow('expands to more than');
    expect(() => expandWord('${A//x/$A}', () => huge, '\\')).toThrow('expands to more than');
  });

  test('a word that nests is bounded', () => {
    expect(() => expandWord('${a:-'.repeat(100_000), () => undefined, '\\')).toThrow('nest deeper');
  });

  test('a pattern does not backtrack', () => {
    const value = 'a'.repeat(5000);
    expect(expandWord(`\${A#${'*a'.repeat(500)}b}`, () => value, '\\')).toBe(value);
  });

  test('any word is expanded or refused, and the same way twice', () => {
    const characters = fc.constantFrom(...'${}:-+?#%/\\"\'` abAB1*[].'.split(''));
    fc.assert(
      fc.property(fc.string({ unit: characters, maxLength: 40 }), (word) => {
        const attempt = () => {
          try {
            return expandWord(word, lookup, '\\');
          } catch (error) {
            return messageOf(error);
          }
        };
        expect(attempt()).toBe(attempt());
      }),
    );
  });

  test('a word in single quotes is itself', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const plain = text.replaceAll("'", '');
        expect(expand(`'${plain}'`)).toBe(plain);
      }),
    );
  });
});
