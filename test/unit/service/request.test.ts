// Texts of JSON of tenants: what is within the bounds is read as JSON has it, whatever is in its
// strings, and what is beyond them is refused before it is parsed.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAX_DEPTH, MAX_VALUES, parseJson } from '../../../service/http/request.js';
import { fuzzing } from '../../fixtures/fuzz.js';

const refused = (why: string) => expect.objectContaining({ code: 'bad-request', message: `body: ${why}` });

test('what is within the bounds is what JSON has it to be, with or without white space', () => {
  const word = fc.string({ unit: fc.constantFrom('"', '\\', '[', ']', '{', '}', ',', ':', 'a', '\n', 'ä') });
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 5 },
      fc.constantFrom(null, true, 1.5),
      word,
      fc.array(tie('any'), { maxLength: 5 }),
      fc.dictionary(word, tie('any'), { maxKeys: 5 }),
    ),
  })).any;
  fc.assert(
    fc.property(value, fc.constantFrom(undefined, 2), (any, space) => {
      const text = JSON.stringify(any, undefined, space);
      expect(parseJson(text)).toEqual(JSON.parse(text));
    }),
    fuzzing(500),
  );
});

test('what is no JSON is refused, and so is what ends within a string', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('"', '\\', '[', ']', '{', '}', ',', ':', '1') }), (text) => {
      let isJson = true;
      try {
        JSON.parse(text);
      } catch {
        isJson = false;
      }
      if (isJson) parseJson(text);
      else expect(() => parseJson(text)).toThrow(refused('not JSON'));
    }),
    fuzzing(500),
  );
});

describe('a text', () => {
  const values = (count: number, value: string) => `[${Array.from({ length: count }, () => value).join(',')}]`;
  // The array is a value too, and so is what is before its first comma.
  test.each([
    [MAX_VALUES - 1, '1'],
    [(MAX_VALUES - 1) / 3, '[1,1]'],
    [5, JSON.stringify('[{,'.repeat(50_000))],
  ])('of %i values is read', (count, value) => {
    const text = values(Math.floor(count), value);
    expect(parseJson(text)).toEqual(JSON.parse(text));
  });

  test.each([
    ['numbers', values(MAX_VALUES, '1')],
    ['objects', values(MAX_VALUES / 2, '{}')],
    ['names', `{${Array.from({ length: MAX_VALUES }, (_, n) => `"${n}":1`).join(',')}}`],
    ['strings', values(MAX_VALUES, '""')],
    ['commas', ','.repeat(MAX_VALUES)],
  ])('of too many %s is refused', (_what, text) => {
    expect(() => parseJson(text)).toThrow(refused(`more than ${MAX_VALUES} values`));
  });

  test('has so many levels', () => {
    const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
    expect(JSON.stringify(parseJson(nested(MAX_DEPTH)))).toBe(nested(MAX_DEPTH));
    for (const depth of [MAX_DEPTH + 1, 500_000]) {
      expect(() => parseJson(nested(depth))).toThrow(refused(`more than ${MAX_DEPTH} levels`));
    }
    expect(() => parseJson('{"a":'.repeat(MAX_DEPTH + 1))).toThrow(refused(`more than ${MAX_DEPTH} levels`));
  });
});
