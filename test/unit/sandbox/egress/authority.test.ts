// The CA of a proxy: what a client of TLS that trusts it thinks of what it signs.
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type PeerCertificate } from 'node:tls';
import { expect, test } from 'vitest';
import { Authority } from '../../../../sandbox/egress/authority.js';

const LONG = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.example`;

/** Resolves to what a client that trusts `ca` thinks of the certificate for `host`. */
async function verify(by: Authority, ca: string, host: string): Promise<PeerCertificate> {
  const server = createServer({ SNICallback: (name, done) => done(null, by.contextOf(name)) });
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const socket = connect({ host: '127.0.0.1', port, servername: host, ca });
  try {
    await once(socket, 'secureConnect');
    return socket.getPeerCertificate();
  } finally {
    socket.destroy();
    server.close();
  }
}

test.each(['api.example.com', LONG])('a client that trusts the CA takes its word for %s', async (host) => {
  const authority = new Authority(['other.example', host]);
  const { subjectaltname, subject } = await verify(authority, authority.certificate, host);
  expect([subjectaltname, subject.CN]).toEqual([`DNS:${host}`, 'tsvm: proxy of secrets']);
});

test('the CA names as many hosts as one run may have, whatever their length', async () => {
  const rest = `${'d'.repeat(49)}.${LONG}`;
  const hosts = Array.from({ length: 256 }, (_, n) => `${String(n).padStart(3, '0')}.${rest}`);
  expect(rest).toHaveLength(249);
  const authority = new Authority(hosts);
  expect(await verify(authority, authority.certificate, hosts[255]!)).toMatchObject({
    subjectaltname: `DNS:${hosts[255]}`,
  });
});

test('the CA is one of its own run, for its hosts alone, and has no key', () => {
  const [one, other] = [new Authority(['a.example']), new Authority(['a.example'])];
  const certificate = new X509Certificate(one.certificate);
  expect(certificate.ca).toBe(true);
  expect(certificate.verify(certificate.publicKey)).toBe(true);
  expect(certificate.fingerprint256).not.toBe(new X509Certificate(other.certificate).fingerprint256);
  expect(Date.parse(certificate.validFrom)).toBeLessThan(Date.now());
  expect(Date.parse(certificate.validTo)).toBeGreaterThan(Date.now());
  expect(one.contextOf('b.example')).toBeUndefined();
});

test("another run's CA is not trusted", async () => {
  const [one, other] = [new Authority(['a.example']), new Authority(['a.example'])];
  await expect(verify(one, other.certificate, 'a.example')).rejects.toThrow(/certificate/);
});
