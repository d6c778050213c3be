// The members of a list of manifests: each name, and each manifest, is there once.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type ListMember, withMembers } from '../../../images/store/list-record.js';

const member = (name: string, digest: string): ListMember => {
  return { name, repository: 'r', manifest: { mediaType: 'm', digest, size: 1 } };
};
const shown = (members: readonly ListMember[]) => members.map(({ name, manifest }) => `${name}${manifest.digest}`);

test('a member takes the place of the first one that it replaces', () => {
  const before = ['a1', 'b2', 'c3'].map(([name = '', digest = '']) => member(name, digest));
  expect(shown(withMembers(before, [member('d', '4')]))).toEqual(['a1', 'b2', 'c3', 'd4']);
  expect(shown(withMembers(before, [member('b', '4')]))).toEqual(['a1', 'b4', 'c3']);
  expect(shown(withMembers(before, [member('d', '2')]))).toEqual(['a1', 'd2', 'c3']);
  // A tag that was moved to what is there by another name.
  expect(shown(withMembers(before, [member('a', '3')]))).toEqual(['a3', 'b2']);
});

test('none is there twice, and the last one that was added is there', () => {
  const some = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.constantFrom('1', '2', '3')), { minLength: 1 });
  fc.assert(
    fc.property(some, (added) => {
      const members = withMembers(
        [],
        added.map(([name, digest]) => member(name, digest)),
      );
      for (const parts of [members.map(({ name }) => name), members.map(({ manifest }) => manifest.digest)]) {
        expect(new Set(parts).size).toBe(parts.length);
      }
      expect(shown(members)).toContain(added.at(-1)?.join(''));
    }),
  );
});
