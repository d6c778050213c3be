// --filter and its patterns follow Docker's rules.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { booleanFilter, hasLabels, matchesPattern, parseFilters } from '../../../../cli/options/filter.js';
import { messageOf } from '../../../../errors/index.js';

describe('filters', () => {
  test('are collected by key', () => {
    const filters = parseFilters(['label=a', 'label=b=c=d', 'dangling=true'], ['label', 'dangling']);
    expect(filters.get('label')).toEqual(['a', 'b=c=d']);
    expect(booleanFilter(filters, 'dangling')).toBe(true);
    expect(booleanFilter(filters, 'other')).toBeUndefined();
  });

  test.each([
    ['label', /expected name=value/],
    ['=x', /expected name=value/],
    ['size=1', /expected one of label/],
  ])('%s are refused', (text, message) => {
    expect(() => parseFilters([text], ['label'])).toThrow(message);
  });

  test('of booleans are true or false', () => {
    expect(booleanFilter(new Map([['dangling', ['0']]]), 'dangling')).toBe(false);
    expect(() => booleanFilter(new Map([['dangling', ['maybe']]]), 'dangling')).toThrow(/expected true or false/);
  });

  test('require all labels, by name or by value', () => {
    expect(hasLabels({ a: '1', b: '' }, ['a', 'b=', 'a=1'])).toBe(true);
    expect(hasLabels({ a: '1' }, ['a=2'])).toBe(false);
    expect(hasLabels({ a: '1' }, ['toString'])).toBe(false);
    expect(hasLabels({})).toBe(true);
  });
});

describe('a pattern', () => {
  test.each([
    ['debian', 'debian', true],
    ['debian*', 'debian:12', true],
    ['*', 'foo/bar', false],
    ['*/bar', 'foo/bar', true],
    ['foo/ba?', 'foo/bar', true],
    ['foo/b?r', 'foo/b/r', false],
    ['registry.example/*', 'registryxexample/a', false],
    ['debian:1[0-2]', 'debian:12', true],
    ['debian:1[0-2]', 'debian:13', false],
    ['a+b', 'a+b', true],
  ])('%s matches %s: %s', (pattern, name, matches) => {
    expect(matchesPattern(pattern, name)).toBe(matches);
  });

  test('of any text is matched or refused', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (pattern, name) => {
        try {
          expect(typeof matchesPattern(pattern, name)).toBe('boolean');
        } catch (error) {
          expect(messageOf(error)).toMatch(/syntax error in pattern/);
        }
      }),
    );
  });
});
