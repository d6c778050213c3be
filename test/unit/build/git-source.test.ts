// Which texts are repositories, and what is refused in them before git sees it.
import { describe, expect, test } from 'vitest';
import { githubSource, parseGitSource, submoduleUrl } from '../../../build/git/source.js';

describe('a source', () => {
  test.each([
    ['https://h/x.git', { scheme: 'https', url: 'https://h/x.git', host: 'h', folder: '' }],
    ['https://h:8443/x.git#v1:a/b', { host: 'h:8443', ref: 'v1', folder: 'a/b' }],
    ['https://me:pw@h/x.git#:/a/./b/', { url: 'https://me:pw@h/x.git', shown: 'https://h/x.git', folder: 'a/b' }],
    ['git://h/x', { scheme: 'git', host: 'h' }],
    ['ssh://git@h:22/x#main', { scheme: 'ssh', url: 'ssh://git@h:22/x', ref: 'main' }],
    ['git@H.com:a/b.git#x/y', { scheme: 'ssh', host: 'h.com', url: 'git@H.com:a/b.git', ref: 'x/y' }],
  ])('%s', (text, expected) => {
    expect(parseGitSource(text)).toMatchObject(expected);
  });

  test.each([
    'https://h/x',
    'https://h/x#main',
    'https://h/x.git?ref=main',
    'file:///x.git',
    'ext::sh -c x',
    '/x.git',
    'x.git',
    'git@h:-x',
    'ssh://-x/y',
    'ssh://-x@h/y',
    'https://h/x\n.git',
  ])('%j is none', (text) => {
    expect(parseGitSource(text)).toBeUndefined();
  });

  test.each(['-x', 'a..b', 'a b', 'a^', 'a~1', '@', '@{u}', 'a//b', '/a', 'a/', 'a/-b', '.a', 'a.lock', 'a*'])(
    'the reference %j is refused',
    (ref) => {
      expect(() => parseGitSource(`https://h/x.git#${ref}`)).toThrow('invalid reference');
    },
  );

  test('a refusal has no password', () => {
    expect(() => parseGitSource('https://me:pw@h/x.git#-x')).toThrow('in https://h/x.git#-x');
  });
});

test.each([
  ['github.com/o/n', 'https://github.com/o/n.git'],
  ['github.com/o/n.git#main:a', 'https://github.com/o/n.git#main:a'],
  ['example.com/o/n', undefined],
  ['./github.com/o/n', undefined],
])('%s', (text, url) => {
  expect(githubSource(text)).toBe(url);
});

test.each([
  ['https://h/a/b.git', '../c.git', 'https://h/a/c.git'],
  ['https://h/a/b.git', '../../c', 'https://h/c'],
  ['https://h/a/b.git', './c', 'https://h/a/b.git/c'],
  ['git@h:a/b.git', '../c.git', 'git@h:a/c.git'],
  ['git@h:b.git', '../c.git', 'git@h:c.git'],
  ['https://h/a', 'git@other:c', 'git@other:c'],
])('of %s, %s is %s', (parent, url, expected) => {
  expect(submoduleUrl(parent, url)).toBe(expected);
});
