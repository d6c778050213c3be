// Proves which texts are references of images, and what they name.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ImageError } from '../../../images/index.js';
import { familiarReference, parseName, parseReference } from '../../../images/reference.js';
import { nameOf, namePath } from '../../../images/store/layout.js';
import { fuzzing } from '../../fixtures/fuzz.js';

const HEX = 'a'.repeat(64);

describe('a reference', () => {
  test.each([
    ['debian', { domain: 'docker.io', path: 'library/debian', tag: 'latest', digest: null }],
    ['debian:12', { domain: 'docker.io', path: 'library/debian', tag: '12', digest: null }],
    ['docker.io/library/debian:12', { domain: 'docker.io', path: 'library/debian', tag: '12', digest: null }],
    ['index.docker.io/debian', { domain: 'docker.io', path: 'library/debian', tag: 'latest', digest: null }],
    ['user/app:v1.0_x-y', { domain: 'docker.io', path: 'user/app', tag: 'v1.0_x-y', digest: null }],
    ['localhost/app', { domain: 'localhost', path: 'app', tag: 'latest', digest: null }],
    ['localhost:5000/app', { domain: 'localhost:5000', path: 'app', tag: 'latest', digest: null }],
    ['registry.example/a/b/c:d', { domain: 'registry.example', path: 'a/b/c', tag: 'd', digest: null }],
    ['[::1]:5000/app:x', { domain: '[::1]:5000', path: 'app', tag: 'x', digest: null }],
    ['a__b/c.d-e---f', { domain: 'docker.io', path: 'a__b/c.d-e---f', tag: 'latest', digest: null }],
    [`app@sha256:${HEX}`, { domain: 'docker.io', path: 'library/app', tag: null, digest: `sha256:${HEX}` }],
    [`app:1@sha256:${HEX}`, { domain: 'docker.io', path: 'library/app', tag: '1', digest: `sha256:${HEX}` }],
  ])('names the same image as in Docker: %s', (text, fields) => {
    expect(parseReference(text)).toEqual({ kind: 'name', ...fields });
  });

  test.each([
    ['oci:dir', { kind: 'oci', path: 'dir', tag: null }],
    ['oci:/a/b.c:tag', { kind: 'oci', path: '/a/b.c', tag: 'tag' }],
    ['oci-archive:file.tar:x', { kind: 'oci-archive', path: 'file.tar', tag: 'x' }],
    ['docker-archive:file.tar', { kind: 'docker-archive', path: 'file.tar', tag: null }],
    ['docker-archive:file.tar:debian:12', { kind: 'docker-archive', path: 'file.tar', tag: 'debian:12' }],
    [`sha256:${HEX}`, { kind: 'id', digest: `sha256:${HEX}` }],
    [HEX, { kind: 'id', digest: `sha256:${HEX}` }],
  ])('names an ID or a file: %s', (text, expected) => {
    expect(parseReference(text)).toEqual(expected);
  });

  test.each([
    '',
    ':',
    ':tag',
    'Debian',
    'debian:',
    'debian:-x',
    `debian:${'x'.repeat(129)}`,
    'a//b',
    '/a',
    'a/',
    '../a',
    'a/../b',
    'a b',
    'a\0b',
    'a@sha256:abc',
    `a@sha512:${HEX}`,
    'a:b:c',
    '-a',
    'a___b',
    'a..b',
    'oci:',
    'oci::tag',
    'oci:dir:',
    `${HEX}:x`,
    'x'.repeat(256),
    'http://debian',
  ])('is refused if it is invalid: %j', (text) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ name: 'ImageError', code: 'bad-reference' }));
  });

  test('is read or refused for any text, and reads the same when it is written again', () => {
    const alphabet = fc.constantFrom(...'abcAB019./:@-_[]%\\ \0\n\u00e9'.split(''));
    const text = fc.oneof(fc.string(), fc.string({ unit: alphabet, maxLength: 40 }), fc.string({ unit: 'binary' }));
    fc.assert(
      fc.property(text, (input) => {
        let parsed: ReturnType<typeof parseReference>;
        try {
          parsed = parseReference(input);
        } catch (error) {
          expect(error).toBeInstanceOf(ImageError);
          expect(error).toMatchObject({ code: 'bad-reference' });
          return;
        }
        if (parsed.kind === 'name') expect(parseReference(familiarReference(parsed))).toEqual(parsed);
      }),
      fuzzing(5000),
    );
  });

  test('has its own file in the folder of names', () => {
    const component = fc.stringMatching(/^[a-z0-9]{1,8}([._-][a-z0-9]{1,4})?$/);
    const tag = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}$/);
    const domain = fc.constantFrom('', 'localhost/', 'registry.example/', 'host:5000/');
    const name = fc.tuple(domain, fc.array(component, { minLength: 1, maxLength: 4 }), tag);
    fc.assert(
      fc.property(name, ([host, path, label]) => {
        const parsed = parseName(`${host}${path.join('/')}:${label}`);
        const parts = namePath('/home', parsed).split('/');
        expect(parts.slice(0, 3)).toEqual(['', 'home', 'names']);
        expect(parts).toHaveLength(5);
        expect(nameOf(parts[3]!, parts[4]!)).toEqual(parsed);
      }),
    );
  });
});
