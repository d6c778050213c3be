// Secrets of a start: what cannot be one is refused, and no error has a value.
import { expect, test } from 'vitest';
import { checkSecrets, type Secrets } from '../../../../sandbox/spec/secrets.js';

const VALUE = 'hidden';

test('texts of any characters but NUL are secrets', () => {
  checkSecrets({});
  checkSecrets({ env: { A: '', B: '=\n\u{1f511}' }, files: { '.a': VALUE, 'b-c.d': '' } });
});

test.each<[string, Secrets]>([
  ['a variable without a name', { env: { '': VALUE } }],
  ['a variable whose name has =', { env: { 'A=B': VALUE } }],
  ['a variable with NUL', { env: { A: `${VALUE}\0` } }],
  ['a file with NUL', { files: { a: `${VALUE}\0` } }],
  ...['', '.', '..', 'a/b', '/a', 'a\0b', 'x'.repeat(256)].map((name): [string, Secrets] => [
    `a file called ${JSON.stringify(name)}`,
    { files: { [name]: VALUE } },
  ]),
])('%s is refused without its value', (_what, secrets) => {
  expect(() => checkSecrets(secrets)).toThrow(
    expect.objectContaining({ code: 'bad-spec', message: expect.not.stringContaining(VALUE) }),
  );
});
