// The rules of .dockerignore: the cases of Docker's own tests of its patterns, and its documentation.
import { describe, expect, test } from 'vitest';
import { type IgnoreRules, parseIgnore } from '../../../build/context/ignore.js';
import { Pattern } from '../../../build/context/pattern.js';

/** Checks a path and the directories above it, as a walk does. */
function isIgnored(rules: IgnoreRules, path: string): boolean {
  let state = rules.root;
  let ignored = false;
  const names = path.split('/');
  for (let depth = 1; depth <= names.length; depth++) {
    ({ isIgnored: ignored, state } = rules.check(names.slice(0, depth).join('/'), state));
  }
  return ignored;
}

const rules = (...lines: string[]) => parseIgnore(Buffer.from(lines.join('\n')), '.dockerignore');

test.each([
  ['**', 'file', true],
  ['**', 'dir/file', true],
  ['**/', 'dir/file', true],
  ['**/**', 'dir/file', true],
  ['dir/**', 'dir/file', true],
  ['dir/**', 'dir/dir2/file', true],
  ['**/dir', 'dir', true],
  ['**/dir', 'dir/file', true],
  ['**/dir2/*', 'dir/dir2/file', true],
  ['**/dir2/**', 'dir/dir2/dir3/file', true],
  ['**file', 'file', true],
  ['**file', 'dir/file', true],
  ['**/file', 'dir/dir/file', true],
  ['**/file*', 'dir/dir/file.txt', true],
  ['**/file*txt', 'dir/dir/file.txt', true],
  ['**/file*.txt*', 'dir/dir/file.txt', true],
  ['**/**/*.txt', 'dir/dir/file.txt', true],
  ['**/**/*.txt2', 'dir/dir/file.txt', false],
  ['**/*.txt', 'file.txt', true],
  ['a**/*.txt', 'a/file.txt', true],
  ['a**/*.txt', 'a/dir/dir/file.txt', true],
  ['a/*.txt', 'a/dir/file.txt', false],
  ['a/*.txt', 'a/file.txt', true],
  ['a/*.txt**', 'a/file.txt', true],
  ['a[b-d]e', 'ae', false],
  ['a[b-d]e', 'ace', true],
  ['a[b-d]e', 'aae', false],
  ['a[^b-d]e', 'aze', true],
  ['.*', '.foo', true],
  ['.*', 'foo', false],
  ['abc.def', 'abcdef', false],
  ['abc.def', 'abcZdef', false],
  ['abc?def', 'abcZdef', true],
  ['abc?def', 'abcdef', false],
  ['a\\*b', 'a*b', true],
  ['a\\*b', 'axb', false],
  ['**/foo/bar', 'foo/bar', true],
  ['**/foo/bar', 'dir/foo/bar', true],
  ['abc/**', 'abc', false],
  ['abc/**', 'abc/def', true],
  ['**/.foo', '.foo', true],
  ['**/.foo', 'bar.foo', false],
  ['./bar.*', 'bar.go', true],
  ['a(b)c/def', 'a(b)c/def', true],
  ['a(b)c/def', 'a(b)c/xyz', false],
  ['a.|)$(}+{', 'a.|)$(}+{', true],
  ['dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3.whl', 'dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3.whl', true],
  ['/foo', 'foo', true],
  ['foo/', 'foo/bar', true],
  ['*/a', 'x/y/a', false],
  ['a/../b', 'b', true],
])('%s and %s: %s', (pattern, path, expected) => {
  expect(isIgnored(rules(pattern), path)).toBe(expected);
});

describe('several patterns', () => {
  test.each([
    [['*', '!a'], 'a', false],
    [['*', '!a'], 'b', true],
    [['*', '!a/b'], 'a/b', false],
    [['a', '!a/b'], 'a/b', false],
    [['a', '!a/b'], 'a/c', true],
    [['**', '!util/docker/web'], 'util/docker/web/foo', false],
    [['util/docker/web', '!util/docker/web/foo', '**/*.go'], 'util/docker/web/foo/x.go', true],
    [['*.md', '!README*.md', 'README-secret.md'], 'README-secret.md', true],
    [['*.md', '!README*.md', 'README-secret.md'], 'README-1.md', false],
    [['*.md', 'README-secret.md', '!README*.md'], 'README-secret.md', false],
    [['# comment', 'a'], '# comment', false],
    [['\\#c'], '#c', true],
    [['  a  ', ''], 'a', true],
    [['! a', 'a', '! a'], 'a', false],
  ])('%j and %s: %s', (lines, path, expected) => {
    expect(isIgnored(rules(...lines), path)).toBe(expected);
  });

  test.each(['!', '[', 'a[', 'a[b', '[]a]', '[-x]', 'a\\'])('%s is refused', (pattern) => {
    expect(() => rules(pattern)).toThrow(/pattern/);
  });

  test('a pattern that would make a regular expression backtrack is an answer away', () => {
    expect(new Pattern(`${'**/*a'.repeat(200)}b`).matches('a/'.repeat(2000))).toBe(false);
  });
});
