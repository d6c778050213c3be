// The process that is the proxy of placeholders: what its owner learns of it, and that it ends with
// it.
import { once } from 'node:events';
import * as http from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import * as tls from 'node:tls';
import { expect, test } from 'vitest';
import { EgressProcess } from '../../../../sandbox/egress/egress-process.js';
import type { Secrets } from '../../../../sandbox/spec/secrets.js';

const HOST = 'api.example.test';
const SECRETS: Secrets = {
  env: { A: 'b', SSL_CERT_FILE: 'own' },
  files: { c: 'd' },
  placeholders: [{ token: 'tsvm-0123456789abcdef', value: 'the value', hosts: [HOST] }],
  upstream: { dns: ['127.0.0.1:1'] },
};

const runs = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

test('its owner gets what a client needs to trust it, and connections that it announces are served', async () => {
  using proxy = await EgressProcess.start(SECRETS);
  const { files = {} } = proxy.trusted(SECRETS);
  const socket = connect(proxy.port ?? 0, '127.0.0.1');
  await once(socket, 'connect');
  proxy.announce({ from: socket.localPort ?? 0, to: 443 });
  const secure = tls.connect({ socket, servername: HOST, ca: files['tsvm-ca.pem'] });
  await once(secure, 'secureConnect');
  const outgoing = http.request({ host: HOST, defaultPort: 443, createConnection: () => secure }).end();
  const [answer] = (await once(outgoing, 'response')) as [http.IncomingMessage];
  expect([answer.statusCode, await text(answer)]).toEqual([502, `tsvm: ${HOST} has no address that may be reached\n`]);
});

test('a container gets its certificates, and nothing of the values', async () => {
  using proxy = await EgressProcess.start(SECRETS);
  const { env = {}, files = {} } = proxy.trusted(SECRETS, { CURL_CA_BUNDLE: '/mine' });
  expect(env).toMatchObject({ A: 'b', SSL_CERT_FILE: 'own', NODE_EXTRA_CA_CERTS: '/run/secrets/tsvm-ca.pem' });
  expect(env).toMatchObject({ REQUESTS_CA_BUNDLE: '/run/secrets/tsvm-ca-bundle.pem' });
  expect(env).not.toHaveProperty('CURL_CA_BUNDLE');
  expect(Object.keys(files)).toEqual(['c', 'tsvm-ca.pem', 'tsvm-ca-bundle.pem']);
  const bundle = files['tsvm-ca-bundle.pem'] ?? '';
  expect(bundle.startsWith(files['tsvm-ca.pem'] ?? 'none')).toBe(true);
  expect(bundle.match(/BEGIN CERTIFICATE/g)).toHaveLength(1 + tls.rootCertificates.length);
  expect(JSON.stringify({ env, files })).not.toMatch(/the value|PRIVATE KEY/);
});

test('it ends with its owner, and its end is known', async () => {
  const proxy = await EgressProcess.start(SECRETS);
  const pid = proxy.pid ?? 0;
  proxy[Symbol.dispose]();
  while (runs(pid)) await sleep(10);
  expect(proxy.port).toBeUndefined();
  using killed = await EgressProcess.start(SECRETS);
  process.kill(killed.pid ?? 0, 'SIGKILL');
  while (killed.port !== undefined) await sleep(10);
});

test('what it cannot be is its owner to know', async () => {
  const wrong = { ...SECRETS, upstream: { allow: ['no range'] } };
  await expect(EgressProcess.start(wrong)).rejects.toThrow(expect.objectContaining({ code: 'state' }));
});
