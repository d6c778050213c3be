// Placeholders of secrets with the programs that people use: curl, git, Node.js and pip in a
// sandbox and in jobs, and what is left when the proxy or its supervisor is killed.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import * as https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openStore } from '../../images/index.js';
import { Authority } from '../../sandbox/egress/authority.js';
import { Container, Home } from '../../sandbox/index.js';
import { clientImage } from '../fixtures/debian-images.js';
import { nameServer } from '../fixtures/name-server.js';
import { OwnService, send } from '../fixtures/service.js';
import { run, TSVM, uml } from './machine.js';
import { list } from './own-home.js';

const HOST = 'api.example.test';
/** Of the loopback interface: the port is that of HTTPS. */
const ADDRESS = '127.77.0.2';
const VALUE = 'the-true-value-of-a-key';
const ALLOWED = [`Bearer ${VALUE}`, `Basic ${Buffer.from(`user:${VALUE}`).toString('base64')}`];

/** A host that whoever has the value may use: a repository of git, an index of Python, an echo. */
async function listen(): Promise<{ ca: string; refused: () => number } & Disposable> {
  const authority = new Authority([HOST]);
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
  execFileSync('git', ['init', '-q', '--bare', '-b', 'main', join(folder, 'repo.git')]);
  const wheels = new Map<string, Buffer>();
  let refused = 0;
  const server = https.createServer({ SNICallback: (name, done) => done(null, authority.contextOf(name)) });
  server.on('request', async (request, response) => {
    const { method, url = '', headers } = request;
    if (!ALLOWED.includes(headers.authorization ?? '')) {
      refused++;
      request.resume();
      response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="it"' }).end();
    } else if (url.startsWith('/repo.git/')) serveGit(folder, request, response);
    else if (method === 'PUT') {
      wheels.set(url, await buffer(request));
      response.writeHead(201).end();
    } else if (url === '/simple/demo/') {
      const links = [...wheels.keys()].map((path) => `<a href="${path}">${path.split('/').at(-1)}</a>`);
      response.writeHead(200, { 'Content-Type': 'text/html' }).end(links.join('\n'));
    } else if (wheels.has(url)) response.end(wheels.get(url));
    else request.pipe(response);
  });
  server.listen(443, ADDRESS);
  await once(server, 'listening');
  const close = () => {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  };
  return { ca: authority.certificate, refused: () => refused, [Symbol.dispose]: close };
}

/** By git's own server program, which speaks CGI. */
function serveGit(root: string, request: IncomingMessage, response: ServerResponse): void {
  const { pathname, search } = new URL(request.url ?? '', `https://${HOST}`);
  const { headers } = request;
  const child = spawn('git', ['http-backend'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      ...{ PATH: process.env.PATH, GIT_PROJECT_ROOT: root, GIT_HTTP_EXPORT_ALL: '1', REMOTE_USER: 'user' },
      ...{ PATH_INFO: pathname, QUERY_STRING: search.slice(1), REQUEST_METHOD: request.method },
      ...{ CONTENT_TYPE: headers['content-type'], CONTENT_LENGTH: headers['content-length'] },
      ...{
        HTTP_CONTENT_ENCODING: headers['content-encoding'],
        HTTP_GIT_PROTOCOL: String(headers['git-protocol'] ?? ''),
      },
    },
  });
  request.pipe(child.stdin).on('error', () => {});
  void buffer(child.stdout).then((answer) => {
    const end = answer.indexOf('\r\n\r\n');
    const lines = answer.subarray(0, end).toString('latin1').split('\r\n');
    const fields = lines.map((line) => line.split(': ') as [string, string]);
    const status = fields.find(([name]) => name === 'Status')?.[1] ?? '200';
    response.writeHead(Number.parseInt(status, 10), fields.flat());
    response.end(answer.subarray(end + 4));
  });
}

const CLIENTS = `set -e
cd /root
head -c 2000000 /dev/urandom > data
curl -sS -H "Authorization: Bearer $API_TOKEN" --data-binary @data https://${HOST}/echo | cmp - data
curl -sS -u "user:$API_TOKEN" -d 'by curl' https://${HOST}/echo; echo
node -e 'fetch("https://${HOST}/echo", { method: "POST", body: "by node", headers: { Authorization: "Bearer " + process.env.API_TOKEN } })
  .then((answer) => answer.text()).then(console.log)'
git clone -q "https://user:$API_TOKEN@${HOST}/repo.git" 2> /dev/null
cp data repo
cd repo
git add data
git -c user.name=a -c user.email=a@example.com commit -qm 'by git'
git -c http.postBuffer=65536 push -q origin HEAD:main
cd ..
git clone -q "https://user:$API_TOKEN@${HOST}/repo.git" again
cmp data again/data
git -C again log --format=%s
python3 - <<'END'
import zipfile
files = {'demo.py': 'print("by pip")', 'demo-1.dist-info/METADATA': 'Metadata-Version: 2.1\\nName: demo\\nVersion: 1\\n',
  'demo-1.dist-info/WHEEL': 'Wheel-Version: 1.0\\nGenerator: it\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'}
files['demo-1.dist-info/RECORD'] = ''.join(name + ',,\\n' for name in [*files, 'demo-1.dist-info/RECORD'])
with zipfile.ZipFile('demo-1-py3-none-any.whl', 'w') as wheel:
  for name, text in files.items(): wheel.writestr(name, text)
END
curl -sS -u "user:$API_TOKEN" -T demo-1-py3-none-any.whl https://${HOST}/wheels/demo-1-py3-none-any.whl
pip install -q --no-deps --target /root/installed --index-url "https://user:$API_TOKEN@${HOST}/simple" demo
python3 installed/demo.py`;

/** The proxy that a supervisor has started. */
function proxyOf(supervisor: number | undefined): number {
  const isProxy = (pid: string) => {
    try {
      const parent = readFileSync(`/proc/${pid}/stat`, 'latin1')
        .replace(/^.*\) /s, '')
        .split(' ')[1];
      return Number(parent) === supervisor && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('egress.js');
    } catch {
      return false;
    }
  };
  const found = list('/proc').filter((name) => /^\d+$/.test(name) && isProxy(name));
  expect(found).toHaveLength(1);
  return Number(found[0]);
}

test('uml: curl, git, Node.js and pip use a host, and a proxy that is killed ends no sandbox', async () => {
  await using service = new OwnService();
  using names = await nameServer([ADDRESS]);
  using host = await listen();
  const key = service.tenant('acme');
  const home = join(service.folder, 'tenants/acme');
  const store = openStore(home);
  await store.tag((await store.resolve(`oci:${clientImage()}:clients`)).digest, 'clients:1');
  const url = await service.start({ accel: 'uml', upstream: { allow: [ADDRESS], dns: names.dns, ca: host.ca } });
  const call = async (method: string, path: string, body?: unknown) =>
    (await send(`${url}/v1/${path}`, { method, key, body })).body as Record<string, unknown> & { id: string };
  await send(`${url}/v1/secrets/TOKEN`, { method: 'PUT', key: service.key('acme', 'admin'), body: { value: VALUE } });
  const secrets = [{ name: 'TOKEN', env: 'API_TOKEN', placeholder: { hosts: [HOST] } }];
  const spec = { image: 'clients:1', memory: 512 * 2 ** 20, network: 'public', secrets };

  const { id } = await call('POST', 'sandboxes', spec);
  const sh = (script: string) =>
    call('POST', `sandboxes/${id}/exec`, { command: ['sh', '-c', script], timeout: 600_000 });
  const said = await sh(CLIENTS);
  expect(said).toMatchObject({ exitCode: 0, stdout: 'by curl\nby node\nby git\nby pip\n' });
  expect(JSON.stringify(said)).not.toContain(VALUE);
  await expect(Container.find(new Home(home), id).suspend()).rejects.toThrow(/has placeholders of secrets/);
  // git and pip ask without a password first.
  expect(host.refused()).toBeGreaterThan(0);

  const words = ['--network', 'public', '--secret', `source=TOKEN,env=API_TOKEN,host=${HOST}`, 'clients:1'];
  const ask = `curl -sS -H "Authorization: Bearer $API_TOKEN" -d "by a job" https://${HOST}/echo`;
  const env = { TSVM_KEY: key, TSVM_SERVER: url };
  const job = await run(uml, [TSVM, 'job', 'run', ...words, 'sh', '-c', ask], { env });
  expect(job).toMatchObject({ code: 0, stdout: 'by a job', stderr: '' });

  const supervisorOf = (name: string) => Container.find(new Home(home), name).state.supervisorPid;
  const killed = proxyOf(supervisorOf(id));
  process.kill(killed, 'SIGKILL');
  while (list('/proc').includes(String(killed))) await sleep(50);
  // 7: the connection is refused.
  expect(await sh(ask)).toMatchObject({ exitCode: 7, stdout: '' });
  expect(await sh('echo alive')).toMatchObject({ exitCode: 0, stdout: 'alive\n' });
  await call('DELETE', `sandboxes/${id}`);

  const { id: lost } = await call('POST', 'jobs', { ...spec, command: ['sleep', '1008'] });
  while ((await call('GET', `jobs/${lost}`)).status !== 'running') await sleep(50);
  const supervisor = supervisorOf(`${lost}-1`) ?? 0;
  const proxy = proxyOf(supervisor);
  process.kill(supervisor, 'SIGKILL');
  while (list('/proc').includes(String(proxy))) await sleep(50);
  while ((await call('GET', `jobs/${lost}`)).status !== 'ended') await sleep(50);
  expect(await call('GET', `jobs/${lost}`)).toMatchObject({ reason: 'lost' });
  expect(service.faults).toEqual([]);
});
