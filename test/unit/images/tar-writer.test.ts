// Proves that the tar headers written here are read back, by our reader and by tar(1).
import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseHeader } from '../../../images/tar/header.js';
import { END_MARK, fileHeader, filePadding } from '../../../images/tar/writer.js';

test('a header has the name and size of its file, for every safe integer', () => {
  const sizes = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, 8 ** 11 - 1, 8 ** 11));
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z/]{1,100}$/), sizes, (name, size) => {
      expect(parseHeader(fileHeader(name, size), 0)).toMatchObject({
        name,
        size,
        typeflag: '0',
        mode: 0o644,
        mtime: 0,
      });
      expect((size + filePadding(size).length) % 512).toBe(0);
    }),
  );
});

test('tar(1) reads an archive of these headers', () => {
  const archive = Buffer.concat([fileHeader('a/b', 3), Buffer.from('abc'), filePadding(3), END_MARK]);
  expect(execFileSync('tar', ['xOf', '-', 'a/b'], { input: archive, encoding: 'utf8' })).toBe('abc');
});
