// Placeholders of secrets with a real machine: real clients in a job send a token over TLS, a host
// outside gets the value, and nothing in the machine has it.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as https from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Authority } from '../../sandbox/egress/authority.js';
import { nameServer } from '../fixtures/name-server.js';
import { OwnService, send } from '../fixtures/service.js';
import { PYTHON } from './machine.js';
import { linkStores } from './own-home.js';

const HOST = 'api.example.test';
/** Of the loopback interface: the port is that of HTTPS. */
const ADDRESS = '127.77.0.1';
const VALUE = 'the-true-value-of-a-key';

/** A host outside, which answers with its requests' bodies. */
async function listen(): Promise<{ headers: string[]; ca: string } & Disposable> {
  const authority = new Authority([HOST]);
  const headers: string[] = [];
  const server = https.createServer({ SNICallback: (name, done) => done(null, authority.contextOf(name)) });
  server.on('request', (request, response) => {
    headers.push(JSON.stringify(request.headers));
    request.pipe(response.writeHead(200, { 'X-Host': 'outside' }));
  });
  server.listen(443, ADDRESS);
  await once(server, 'listening');
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { headers, ca: authority.certificate, [Symbol.dispose]: close };
}

const PROGRAM = `
import hashlib, json, os, socket, ssl, urllib.request, urllib.error
token = os.environ['API_TOKEN']
def ask(url, body=None, **headers):
  request = urllib.request.Request(url, body, headers)
  try:
    with urllib.request.urlopen(request, timeout=60) as answer: return [answer.status, hashlib.sha256(answer.read()).hexdigest()]
  except urllib.error.HTTPError as error: return [error.code, '']
  except OSError as error: return [0, str(getattr(error, 'reason', error))]
def six():
  try: return socket.getaddrinfo('${HOST}', 443, socket.AF_INET6)
  except socket.gaierror as error: return error.errno in (socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY)
def query(kind):
  asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
  asked.settimeout(60)
  asked.connect(([line.split()[1] for line in open('/etc/resolv.conf') if line.startswith('nameserver')][0], 53))
  name = b''.join(bytes([len(label)]) + label.encode() for label in '${HOST}'.split('.'))
  asked.send(bytes.fromhex('000701000001000000000000') + name + bytes([0, 0, kind, 0, 1]))
  return asked.recv(4096)
url = 'https://${HOST}/'
body = os.urandom(3_000_000)
print(json.dumps({
  'token': token,
  'address': socket.gethostbyname('${HOST}'),
  'six': six(),
  'answered': query(1).hex()[-8:],
  'asked': ask(url, body, Authorization='Bearer ' + token) == [200, hashlib.sha256(body).hexdigest()],
  'elsewhere': ask(url, Host='other.example.test'),
  'plain': ask('http://${HOST}/'),
  'port': ask('https://${HOST}:8443/'),
  'environ': open('/proc/self/environ').read(),
  'hosts': open('/etc/hosts').read(),
  'files': sorted(os.listdir('/run/secrets')),
  'strict': ssl.create_default_context(cafile='/run/secrets/tsvm-ca.pem').cert_store_stats()['x509_ca'],
}))`;

test('a job sends a token, and the host gets the value', async () => {
  await using service = new OwnService();
  using names = await nameServer([ADDRESS]);
  using host = await listen();
  const key = service.tenant('acme');
  linkStores(join(service.folder, 'tenants/acme'));
  const url = await service.start({ accel: 'uml', upstream: { allow: [ADDRESS], dns: names.dns, ca: host.ca } });
  const set = await send(`${url}/v1/secrets/TOKEN`, {
    method: 'PUT',
    key: service.key('acme', 'admin'),
    body: { value: VALUE },
  });
  expect(set.status).toBe(200);
  const body = {
    ...{ image: PYTHON, command: ['python3', '-c', PROGRAM], network: 'public' },
    secrets: [{ name: 'TOKEN', env: 'API_TOKEN', placeholder: { hosts: [HOST] } }],
  };
  const { body: made } = await send(`${url}/v1/jobs`, { method: 'POST', key, body });
  const { id } = made as { id: string };
  const job = async () => (await send(`${url}/v1/jobs/${id}`, { key })).body as { status: string; exitCode?: number };
  while ((await job()).status !== 'ended') await sleep(100);
  const output = await fetch(`${url}/v1/jobs/${id}/output`, {
    headers: { Authorization: `Bearer ${key}`, Connection: 'close' },
  });
  const text = await output.text();
  expect([(await job()).exitCode, text]).toEqual([0, expect.any(String)]);
  const said = JSON.parse((JSON.parse(text.trim().split('\n')[0] ?? '') as { log: string }).log);
  expect(said).toMatchObject({
    token: expect.stringMatching(/^tsvm-[0-9a-f]{48}$/),
    address: '198.19.0.4',
    six: true,
    answered: 'c6130004',
    asked: true,
    elsewhere: [421, ''],
    plain: [0, expect.stringMatching(/refused|unreachable|No route/i)],
    port: [0, expect.stringMatching(/refused|unreachable|No route/i)],
    files: ['tsvm-ca-bundle.pem', 'tsvm-ca.pem'],
  });
  expect(host.headers).toHaveLength(1);
  expect(JSON.parse(host.headers[0] ?? '')).toMatchObject({ authorization: `Bearer ${VALUE}`, host: HOST });
  expect(text).not.toContain(VALUE);
  const audit = readFileSync(join(service.folder, 'audit.log'), 'utf8');
  const told = audit
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { job?: string })
    .filter(({ job }) => job === id);
  expect(told).toMatchObject([
    { tenant: 'acme', host: HOST, method: 'POST', status: 200, values: 1 },
    { tenant: 'acme', method: 'GET', status: 421, values: 0 },
  ]);
  expect(audit).not.toContain(VALUE);
  expect(service.faults).toEqual([]);
});
