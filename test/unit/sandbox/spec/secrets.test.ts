// Secrets of a start: what cannot be one is refused, and no error has a value.
import { expect, test } from 'vitest';
import { checkSecrets, type Secrets } from '../../../../sandbox/spec/secrets.js';

const VALUE = 'hidden';
const PLACEHOLDER = { token: 'tsvm-0123456789abcdef', value: VALUE, hosts: ['api.example.com', 'a-1.b2'] };

test('texts of any characters but NUL are secrets', () => {
  checkSecrets({});
  checkSecrets({ placeholders: [PLACEHOLDER, { ...PLACEHOLDER, headers: ['X-Key'], http: true }] });
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
  ...(
    [
      ['a short token', { token: 'x'.repeat(15) }],
      ['a token of more than a word', { token: 'x'.repeat(16).concat(' y') }],
      ['no value', { value: '' }],
      ['a value with a line break', { value: `${VALUE}\n` }],
      ['a value that is not ASCII', { value: `${VALUE}é` }],
      ['a long value', { value: VALUE.repeat(2000) }],
      ['no host', { hosts: [] }],
      ...[
        'localhost',
        '10.1.2.3',
        '*.example.com',
        'Api.example.com',
        'a.b.',
        'a b.c',
        'a.b\n127.0.0.1 c.d',
        '[::1].x',
        '-a.b',
      ].map((host) => [`the host ${JSON.stringify(host)}`, { hosts: ['a.example', host] }] as const),
      ...['Host', 'content-length', 'Proxy-Authorization', 'a b', ''].map(
        (header) => [`the header ${JSON.stringify(header)}`, { headers: [header] }] as const,
      ),
    ] as const
  ).map(([what, change]): [string, Secrets] => [
    `a placeholder with ${what}`,
    { placeholders: [{ ...PLACEHOLDER, ...change }] },
  ]),
])('%s is refused without its value', (_what, secrets) => {
  expect(() => checkSecrets(secrets)).toThrow(
    expect.objectContaining({ code: 'bad-spec', message: expect.not.stringContaining(VALUE) }),
  );
});
