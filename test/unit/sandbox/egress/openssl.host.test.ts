// The certificates of a proxy beside the program openssl, which reads them by its strictest rules.
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeCertificate } from '../../../../sandbox/egress/certificate.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-egress-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const makeKeys = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ca = makeKeys();
const leaf = makeKeys();
const common = { issuer: 'CA', issuerKey: ca.publicKey };

function verify(name: string): string {
  const authority = { ...common, subject: 'CA', key: ca.publicKey, names: ['api.example.com'], isCa: true };
  const own = { ...common, subject: 'leaf', key: leaf.publicKey, names: [name], isCa: false };
  const [trusted, shown] = [join(folder, 'ca.pem'), join(folder, 'leaf.pem')];
  writeFileSync(trusted, makeCertificate(authority, ca.privateKey));
  writeFileSync(shown, makeCertificate(own, ca.privateKey));
  const words = ['verify', '-x509_strict', '-check_ss_sig', '-purpose', 'sslserver', '-CAfile', trusted, shown];
  return execFileSync('openssl', words, { encoding: 'utf8', stdio: 'pipe' });
}

test('a certificate of a named host is strictly right', () => {
  expect(verify('api.example.com')).toContain('OK');
});

test('the CA is believed for no other host', () => {
  expect(() => verify('example.com')).toThrow(/permitted subtree violation/);
  expect(() => verify('xapi.example.com')).toThrow(/permitted subtree violation/);
});
