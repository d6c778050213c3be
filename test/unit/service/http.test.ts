// The API over HTTP, of a real server: who calls, what is asked, and the one shape of errors. No
// sandbox starts here: a tenant has no share, or asks for what is refused.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openApiDocument } from '../../../service/http/openapi.js';
import { problemSchema } from '../../../service/http/problem.js';
import { MAX_BODY } from '../../../service/http/server.js';
import { openDatabase } from '../../../service/store/database.js';
import { fuzzing } from '../../fixtures/fuzz.js';
import { type Answer, HOST, OwnService, send } from '../../fixtures/service.js';

const service = new OwnService();
/** Their sandboxes and jobs would be too many. */
const key = service.tenant('acme', { sandboxes: 0, jobs: 0 });
const otherKey = service.tenant('other', { sandboxes: 0, jobs: 0 });
let url: string;

beforeAll(async () => {
  url = await service.start();
});

afterAll(async () => {
  await service[Symbol.asyncDispose]();
  expect(service.faults).toEqual([]);
});

const call = (method: string, path: string, body?: unknown, headers: object = {}) =>
  send(`${url}${path}`, { method, key, body, headers });
const create = (body: unknown, headers?: object) => call('POST', '/v1/sandboxes', body, headers);

function expectProblem({ status, headers, body }: Answer, code: string): void {
  expect(problemSchema.parse(body)).toMatchObject({ status, code });
  expect(headers.get('Content-Type')).toBe('application/problem+json');
}

test('a client is told how long its connection is kept: longer than a busy host keeps one waiting', async () => {
  const { headers } = await call('GET', '/v1/sandboxes');
  expect(headers.get('Keep-Alive')).toBe('timeout=30');
});

describe('keys', () => {
  const paths = [
    ['GET', '/v1/sandboxes'],
    ['POST', '/v1/sandboxes'],
    ['GET', '/v1/sandboxes/sb-0'],
    ['DELETE', '/v1/sandboxes/sb-0'],
    ['POST', '/v1/sandboxes/sb-0/pause'],
    ['POST', '/v1/sandboxes/sb-0/resume'],
    ['POST', '/v1/sandboxes/sb-0/exec'],
    ['GET', '/v1/sandboxes/sb-0/exec'],
    ['GET', '/v1/sandboxes/sb-0/ports'],
    ['GET', '/v1/sandboxes/sb-0/files?path=/'],
    ['PUT', '/v1/sandboxes/sb-0/files?path=/'],
    ['GET', '/v1/jobs'],
    ['POST', '/v1/jobs'],
    ['POST', '/v1/jobs/batch'],
    ['GET', '/v1/jobs/job-0'],
    ['POST', '/v1/jobs/job-0/cancel'],
    ['GET', '/v1/jobs/job-0/output'],
    ['GET', '/v1/jobs/job-0/events'],
    ['GET', '/v1/jobs/job-0/files'],
    ['DELETE', '/v1/jobs/job-0'],
    ['POST', '/v1/uploads'],
    ['GET', '/v1/tenant'],
    ['GET', '/v1/usage'],
    ['GET', '/v1/operator/jobs'],
    ['GET', '/v1/operator/jobs/job-0'],
    ['GET', '/v1/operator/jobs/job-0/events'],
    ['GET', '/v1/operator/tenants'],
    ['GET', '/v1/operator/tenants/acme'],
    ['GET', '/v1/operator/tenants/acme/usage'],
    ['GET', '/v1/operator/usage'],
  ] as const;
  test.each(paths)('%s %s is for those with a key', async (method, path) => {
    const wrong = `${key.slice(0, 22)}${otherKey.slice(22)}`;
    for (const Authorization of ['', 'Bearer', `Bearer ${wrong}`, `Basic ${key}`, key, `Bearer ${'x'.repeat(5000)}`]) {
      const answer = await send(`${url}${path}`, { method, headers: { Authorization } });
      expectProblem(answer, 'unauthorized');
      expect([answer.status, answer.headers.get('WWW-Authenticate')]).toEqual([401, 'Bearer']);
    }
  });

  test('health and the document need none', async () => {
    expect(await send(`${url}/healthz`)).toMatchObject({ status: 200, body: { status: 'ok' } });
    expect((await send(`${url}/openapi.json`)).body).toEqual(openApiDocument());
  });

  test('one that is revoked while the server runs is none', async () => {
    const late = service.tenant('late');
    const show = () => send(`${url}/v1/sandboxes`, { key: late });
    expect(await show()).toMatchObject({ status: 200, body: { sandboxes: [] } });
    service.revoke('late');
    expectProblem(await show(), 'unauthorized');
  });
});

describe('rates', () => {
  const limited = new OwnService();
  let from: string;
  const strangers = { count: 5, period: 3_600_000 };
  beforeAll(async () => {
    from = await limited.start({ strangers });
  });
  afterAll(async () => {
    await limited[Symbol.asyncDispose]();
    expect(limited.faults).toEqual([]);
  });

  test("a tenant's requests beyond its rate are refused, until the rate grows", async () => {
    const some = limited.tenant('some', { rate: '3/h' });
    const others = limited.tenant('others', { rate: '3/h' });
    const show = (who = some) => send(`${from}/v1/jobs`, { key: who });
    for (let n = 0; n < 3; n++) expect((await show()).status).toBe(200);
    const refused = await show();
    expectProblem(refused, 'rate');
    const retryAfter = Number(refused.headers.get('Retry-After'));
    expect([refused.status, retryAfter > 1100, retryAfter <= 1200]).toEqual([429, true, true]);
    // A job that is refused is none.
    expectProblem(await send(`${from}/v1/jobs`, { method: 'POST', key: some, body: { image: 'a' } }), 'rate');
    expect((await show(others)).status).toBe(200);
    limited.set('some', { rate: '4/h' });
    expect((await show()).body).toEqual({ jobs: [] });
    limited.set('some', { rate: 'none' });
    for (let n = 0; n < 10; n++) expect((await show()).status).toBe(200);
  });

  test("a request of E2B's client counts once", async () => {
    const some = limited.tenant('e2b', { rate: '3/h' });
    const list = async (path: string) => {
      const answer = await fetch(`${from}${path}`, { headers: { 'X-API-Key': some } });
      return [answer.status, ((await answer.json()) as { code?: number }).code];
    };
    for (const path of ['/sandboxes', '/v2/sandboxes', '/sandboxes?limit=1']) {
      expect(await list(path)).toEqual([200, undefined]);
    }
    expect(await list('/v2/sandboxes')).toEqual([429, 429]);
  });

  test('an address has few requests without a key, and those with one go on', async () => {
    const some = limited.tenant('keyed', { rate: '1000/s' });
    const paths = ['/v1/jobs', '/openapi.json', '/nothing', '/v1/sandboxes/sb-0', '/openapi.json'];
    const statuses: number[] = [];
    for (const path of paths) statuses.push((await send(`${from}${path}`)).status);
    expect(statuses).toEqual([401, 200, 404, 401, 200]);
    for (const path of paths) {
      const answer = await send(`${from}${path}`, { key: `${some.slice(0, -1)}_` });
      expectProblem(answer, 'rate');
      expect(Number(answer.headers.get('Retry-After'))).toBeGreaterThan(0);
    }
    expect((await send(`${from}/healthz`)).status).toBe(200);
    expect((await send(`${from}/v1/jobs`, { key: some })).status).toBe(200);
  });
});

describe('the scope of a key', () => {
  const SCOPES = ['read', 'submit', 'admin', 'operator'] as const;
  const document = JSON.parse(JSON.stringify(openApiDocument())) as {
    paths: Record<string, Record<string, { operationId: string; description: string }>>;
  };
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { operationId, description }]) => ({
      ...{ method: method.toUpperCase(), path: path.replace('{id}', 'nothing'), operationId },
      needed: SCOPES.findIndex((scope) => description.includes(`\`${scope}\``)),
    })),
  );

  test.each(operations)('is needed for $operationId as the document says', async ({ method, path, needed }) => {
    for (const [has, scope] of SCOPES.entries()) {
      const answer = await send(`${url}${path}`, { method, key: service.key('acme', scope) });
      if (has < needed) expectProblem(answer, 'forbidden');
      else expect(answer.status).not.toBe(403);
    }
  });

  test('that looks neither changes anything nor opens files of a sandbox, which may be secrets', () => {
    const looking = operations.filter(({ needed }) => needed === 0);
    const names = ['listSandboxes', 'showSandbox', 'listJobs', 'showJob', 'readOutput', 'followJob', 'readOutputs'];
    const own = ['listSnapshots', 'showSnapshot', 'listSecrets', 'showTenant', 'listUsage'];
    expect(looking.map(({ operationId }) => operationId).sort()).toEqual([...names, ...own].sort());
    const setting = operations.filter(({ needed }) => needed === 2).map(({ operationId }) => operationId);
    expect(setting.sort()).toEqual(['removeSecret', 'setSecret']);
    const all = operations.filter(({ needed }) => needed === 3);
    expect(all.filter(({ path, method }) => !path.startsWith('/v1/operator/') || method !== 'GET')).toEqual([]);
    expect(operations.filter(({ path }) => path.startsWith('/v1/operator/'))).toEqual(all);
    expect(all.length).toBe(7);
  });

  test("read opens nothing of E2B's client", async () => {
    const list = (scope: (typeof SCOPES)[number]) =>
      fetch(`${url}/v2/sandboxes`, { headers: { 'X-API-Key': service.key('acme', scope) } });
    expect([(await list('read')).status, (await list('submit')).status]).toEqual([403, 200]);
  });
});

describe('the audit log', () => {
  test('has each request, those that are refused too, and no key', async () => {
    const path = '/v1/sandboxes/sb-00000000000000aa';
    await send(`${url}${path}`, { key: `${key}x` });
    await call('GET', `${path}?limit=1`);
    await call('DELETE', path);
    const file = join(service.folder, 'audit.log');
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
    const mine = lines.map((line) => JSON.parse(line)).filter((line) => line.path === path);
    const from = '127.0.0.1';
    expect(mine).toMatchObject([
      { from, method: 'GET', status: 401 },
      { from, tenant: 'acme', method: 'GET', status: 404 },
      { from, tenant: 'acme', method: 'DELETE', status: 404 },
    ]);
    expect(mine[0]).not.toHaveProperty('tenant');
    expect(mine.every(({ time }) => Date.parse(time) > 0)).toBe(true);
    for (const secret of [key, otherKey]) expect(lines.join('')).not.toContain(secret.slice(22, 40));
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });
});

describe('requests', () => {
  test.each([
    ['no image', {}],
    ['a field that there is not', { image: 'a', mounts: [] }],
    ['a wrong type', { image: 'a', cpus: '1' }],
    ['too little memory', { image: 'a', memory: 1 }],
    ['too much', { image: 'a', cpus: 65 }],
    ['a fraction of a byte', { image: 'a', memory: 2 ** 27 + 0.5 }],
    ['no end', { image: 'a', lifetime: 2 ** 31 }],
    ['a network of the host', { image: 'a', network: 'tap:eth0' }],
    ['a list', []],
    ['null', null],
    ['half a JSON', '{"image":'],
    ['nothing', ''],
    ['a hundred thousand lists', '['.repeat(100_000)],
    ['a folder of the host', { image: 'oci:/etc' }],
    ['an archive of the host', { image: 'docker-archive:/etc/passwd' }],
    ['a path', { image: '../../etc' }],
  ])('%s is refused', async (_name, body) => {
    const answer = await create(body);
    expectProblem(answer, 'bad-request');
    expect(answer.status).toBe(400);
  });

  test("a name that is a transport's word is a name", async () => {
    expectProblem(await create({ image: 'oci:latest' }), 'quota');
  });

  test.each([
    ['no image', {}],
    ['a field that there is not', { image: 'a', lifetime: 1000 }],
    ['a word for a command', { image: 'a', command: 'true' }],
    ['too many retries', { image: 'a', retries: 11 }],
    ['half a retry', { image: 'a', retries: 0.5 }],
    ['no end', { image: 'a', timeout: 2 ** 31 }],
    ['input that is no base64', { image: 'a', stdin: { base64: '%' } }],
    ['files that are a text', { image: 'a', files: 'text' }],
    ['an upload that has a path', { image: 'a', stdin: { upload: '../../service.db' } }],
    ['outputs that are all', { image: 'a', outputs: '/' }],
    ['outputs above', { image: 'a', outputs: '/a/../..' }],
    ['a folder without a root', { image: 'a', filesPath: 'work' }],
    ['a deadline in the past', { image: 'a', deadline: -1 }],
    ['a folder of the host', { image: 'oci:/etc' }],
  ])('a job of %s is refused', async (_name, body) => {
    expectProblem(await call('POST', '/v1/jobs', body), 'bad-request');
  });

  test('a queue that is full says when to come again', async () => {
    const answer = await call('POST', '/v1/jobs', { image: 'debian:12' });
    expectProblem(answer, 'quota');
    expect([answer.status, answer.headers.get('Retry-After')]).toEqual([429, '5']);
  });

  test('a share that is used up says when to come again', async () => {
    const answer = await create({ image: 'debian:12' });
    expectProblem(answer, 'quota');
    expect([answer.status, answer.headers.get('Retry-After')]).toEqual([429, '5']);
  });

  test.each([['text/plain'], ['application/jsonx'], ['']])('the type %j is not JSON', async (type) => {
    expectProblem(await create({ image: 'a' }, { 'Content-Type': type }), 'not-json');
  });

  test.each([
    ['too much of a page', '?limit=101'],
    ['nothing of a page', '?limit=0'],
    ['an unknown word', '?all=1'],
    ['a word twice', '?limit=1&limit=2'],
    ['an unknown status', '?status=dead'],
  ])('%s is refused', async (_name, query) => {
    expectProblem(await call('GET', `/v1/sandboxes${query}`), 'bad-request');
  });

  test.each(['', '?path=', '?path=etc', `?path=/${'x'.repeat(4096)}`, '?path=/&path=/etc'])(
    '%j is no path',
    async (query) => {
      for (const method of ['GET', 'PUT']) {
        expectProblem(await call(method, `/v1/sandboxes/sb-0/files${query}`), 'bad-request');
      }
    },
  );

  test.each([
    ['POST', '/'],
    ['GET', '/v1'],
    ['GET', '/v1/sandboxes/'],
    ['PUT', '/v1/sandboxes'],
    ['GET', '/v1/sandboxes/../../etc/passwd'],
    ['GET', '/v1/sandboxes/..%2f..%2fetc'],
    ['GET', '/v1/sandboxes/%00'],
    ['GET', '/v1/sandboxes/%ff'],
    ['DELETE', '/v1/sandboxes/sb-0000000000000000'],
    ['GET', '/v1/sandboxes/sb-0000000000000000/files?path=/etc'],
    ['PUT', '/v1/sandboxes/sb-0000000000000000/files?path=/etc'],
    ['GET', '/v1/jobs/job-0000000000000000'],
    ['POST', '/v1/jobs/job-0000000000000000/cancel'],
    ['GET', '/v1/jobs/job-0000000000000000/output'],
    ['GET', '/v1/jobs/job-0000000000000000/output?follow=true'],
    ['GET', '/v1/jobs/job-0000000000000000/events?from=1:1'],
    ['GET', '/v1/jobs/job-0000000000000000/files'],
    ['DELETE', '/v1/jobs/job-0000000000000000'],
    ['GET', '/v1/uploads'],
  ])('%s %s is not there', async (method, path) => {
    expectProblem(await call(method, path), 'not-found');
  });

  test('a share that is changed while the server runs counts at once', async () => {
    const changed = service.tenant('changed', { jobs: 0 });
    const submit = () => send(`${url}/v1/jobs`, { method: 'POST', key: changed, body: { image: 'nothing' } });
    expectProblem(await submit(), 'quota');
    service.set('changed', { jobs: 1 });
    expect((await submit()).status).toBe(201);
    service.set('changed', { cpus: 0.5 });
    expectProblem(await submit(), 'quota');
    expect(() => service.set('nobody', { jobs: 1 })).toThrow(expect.objectContaining({ code: 'not-found' }));
  });

  test('a tenant sees its share, and what its jobs have used', async () => {
    const own = service.tenant('seen', { sandboxes: 3, jobs: 5, cpus: 2, rate: '1000/s' });
    const ask = async (path: string) => (await send(`${url}/v1/${path}`, { key: own })).body;
    expect(await ask('tenant')).toEqual({
      name: 'seen',
      limits: { ...HOST, sandboxes: 3, snapshots: 4, jobs: 5, cpus: 2, files: 2 ** 30, rate: '1000/s' },
      held: { cpus: 0, memory: 0, disk: 0 },
      sandboxes: { starting: 0, running: 0, pausing: 0, paused: 0, resuming: 0 },
      snapshots: 0,
      jobs: { queued: 0, starting: 0, running: 0 },
      scope: 'admin',
    });
    expect(await ask('usage')).toEqual({ periods: [] });
    const { body } = await send(`${url}/v1/jobs`, { method: 'POST', key: own, body: { image: 'nothing', cpus: 2 } });
    const { id, created } = body as { id: string; created: string };
    const look = async () => (await ask(`jobs/${id}`)) as { status: string; ended: string };
    while ((await look()).status !== 'ended') await sleep(50);
    const { ended } = await look();
    // A removed record takes nothing from what was used.
    expect((await send(`${url}/v1/jobs/${id}`, { method: 'DELETE', key: own })).status).toBe(204);
    for (const [by, length] of [
      ['day', 10],
      ['hour', 13],
    ] as const) {
      const { periods } = (await ask(`usage?by=${by}`)) as { periods: { cpuSeconds: number }[] };
      expect(periods).toEqual([
        { period: ended.slice(0, length), jobs: 1, succeeded: 0, sandboxes: 0, cpuSeconds: expect.any(Number) },
      ]);
      // Two CPUs for a second at least, and no longer than the job was there.
      const seconds = (Date.parse(ended) - Date.parse(created)) / 1000;
      expect(periods[0]!.cpuSeconds).toBeGreaterThanOrEqual(2);
      expect(periods[0]!.cpuSeconds).toBeLessThanOrEqual(2 * Math.max(1, seconds) + 0.1);
    }
    expectProblem(await send(`${url}/v1/usage?by=week`, { key: own }), 'bad-request');
  });

  test('an upload is kept once, and counts in the share', async () => {
    const most = service.tenant('uploads', { jobs: 1, files: 100 });
    const upload = async (body: string) => {
      const headers = { 'Content-Type': 'application/octet-stream' };
      return await send(`${url}/v1/uploads`, { method: 'POST', key: most, body, headers });
    };
    const name = `sha256:${createHash('sha256').update('x'.repeat(60)).digest('hex')}`;
    for (let again = 0; again < 2; again++) {
      expect(await upload('x'.repeat(60 - 20 * again))).toMatchObject({ status: 201 });
    }
    expectProblem(await upload('y'), 'quota');
    const body = { image: 'debian:12', cpus: 8, stdin: { upload: name }, files: { base64: '' } };
    const submit = (more: object) => send(`${url}/v1/jobs`, { method: 'POST', key: most, body: { ...body, ...more } });
    expectProblem(await submit({ stdin: { upload: name.replace(/.$/, 'g') } }), 'bad-request');
    expectProblem(await submit({ stdin: { upload: `sha256:${'0'.repeat(64)}` } }), 'bad-request');
    expectProblem(await submit({ stdin: 'z'.repeat(1) }), 'quota');
    // Of what was refused, nothing is left.
    expect(readdirSync(join(service.folder, 'files/uploads'))).toEqual(['uploads']);
    const { body: job } = await submit({ image: 'nothing' });
    expect(job).toMatchObject({ stdin: name });
    const { id } = job as { id: string };
    const look = async () => (await send(`${url}/v1/jobs/${id}`, { key: most })).body as { status: string };
    while ((await look()).status !== 'ended') await sleep(50);
    expect(await look()).toMatchObject({ reason: 'not-started' });
    expectProblem(await send(`${url}/v1/jobs/${id}/files`, { key: most }), 'no-file');
    expect((await send(`${url}/v1/jobs/${id}`, { method: 'DELETE', key: most })).status).toBe(204);
    expectProblem(await send(`${url}/v1/jobs/${id}`, { key: most }), 'not-found');
    expect(readdirSync(join(service.folder, 'files/uploads'))).toEqual(['uploads']);
  });

  test('a job with input and files that is submitted twice with one key is one job', async () => {
    const request = { method: 'POST', key: service.tenant('twice'), headers: { 'Idempotency-Key': 'both' } };
    const body = { image: 'nothing', stdin: 'text', files: { base64: '' } };
    const submit = (more: object = {}) => send(`${url}/v1/jobs`, { ...request, body: { ...body, ...more } });
    const first = await submit();
    expect(first).toMatchObject({ status: 201 });
    expect((await submit()).body).toMatchObject({ id: (first.body as { id: string }).id });
    expectProblem(await submit({ stdin: 'another' }), 'conflict');
  });

  test('HEAD leaves nothing open', async () => {
    const own = service.tenant('head');
    const { body } = await send(`${url}/v1/jobs`, { method: 'POST', key: own, body: { image: 'nothing' } });
    const { id } = body as { id: string };
    const look = async () => (await send(`${url}/v1/jobs/${id}`, { key: own })).body as { status: string };
    while ((await look()).status !== 'ended') await sleep(50);
    // As if it had left more than is read ahead.
    const left = Buffer.alloc(2 ** 20, 'x');
    mkdirSync(join(service.folder, 'files/head', id), { recursive: true });
    writeFileSync(join(service.folder, 'files/head', id, 'outputs'), left);
    const database = openDatabase(service.folder);
    database.prepare('UPDATE jobs SET outputs = ?, stored = ? WHERE id = ?').run(left.length, left.length, id);
    database.close();
    const files = `${url}/v1/jobs/${id}/files`;
    for (let n = 0; n < 40; n++) expect((await send(files, { method: 'HEAD', key: own })).status).toBe(200);
    const answer = await fetch(files, { headers: { Authorization: `Bearer ${own}` } });
    expect(left.equals(Buffer.from(await answer.arrayBuffer()))).toBe(true);
  });

  test('a batch is queued whole or not at all, and once', async () => {
    const own = service.tenant('batches', { jobs: 5, cpus: 2 });
    const batch = (jobs: unknown, key?: string) => {
      const headers = key === undefined ? {} : { 'Idempotency-Key': key };
      return send(`${url}/v1/jobs/batch`, { method: 'POST', key: own, headers, body: { jobs } });
    };
    const ids = (answer: Answer) => (answer.body as { jobs: { id: string }[] }).jobs.map(({ id }) => id);
    const all = async () => ids(await send(`${url}/v1/jobs`, { key: own }));
    const read = { image: 'nothing', stdin: 'input' };
    for (const wrong of [
      [],
      {},
      Array(101).fill(read),
      [read, { image: 'a', cpus: '1' }],
      [read, { image: 'oci:/' }],
    ]) {
      expectProblem(await batch(wrong), 'bad-request');
    }
    const large = await batch([read, { ...read, cpus: 3 }]);
    expectProblem(large, 'quota');
    expect(large.body).toMatchObject({ detail: "jobs.1: the tenant's share is 2 CPUs" });
    expectProblem(await batch(Array(6).fill(read)), 'quota');
    expectProblem(await batch([read, { ...read, stdin: { upload: `sha256:${'0'.repeat(64)}` } }]), 'bad-request');
    expect(await all()).toEqual([]);
    expect(
      existsSync(join(service.folder, 'files/batches')) ? readdirSync(join(service.folder, 'files/batches')) : [],
    ).toEqual([]);

    const jobs = [read, { ...read, priority: 1 }, read];
    const first = await batch(jobs, 'k');
    expect(first).toMatchObject({ status: 201, body: { jobs: [{ stdin: expect.any(String) }, { priority: 1 }, {}] } });
    expect(ids(await batch(jobs, 'k'))).toEqual(ids(first));
    for (const other of [jobs.slice(1), [...jobs, read], [read, read, read]]) {
      expectProblem(await batch(other, 'k'), 'conflict');
    }
    expect((await all()).sort()).toEqual(ids(first).sort());
    const [gone = ''] = ids(first);
    const look = async () => (await send(`${url}/v1/jobs/${gone}`, { key: own })).body as { status: string };
    while ((await look()).status !== 'ended') await sleep(20);
    expect((await send(`${url}/v1/jobs/${gone}`, { method: 'DELETE', key: own })).status).toBe(204);
    expect(ids(await batch(jobs, 'k'))).toEqual(ids(first).slice(1));
    // A job of its own with the same key is another.
    const single = { method: 'POST', key: own, headers: { 'Idempotency-Key': 'k' }, body: read };
    expect((await send(`${url}/v1/jobs`, single)).status).toBe(201);
  });

  test('a key of idempotency has a length', async () => {
    for (const long of ['', 'k'.repeat(256)]) {
      expectProblem(await create({ image: 'a' }, { 'Idempotency-Key': long }), 'bad-request');
    }
  });
});

describe('large bodies', () => {
  const large = JSON.stringify({ image: 'a', env: { A: 'x'.repeat(MAX_BODY) } });
  const authorized = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };

  /**
   * Sends a body, and one without an end if there is none. Resolves to the status and the bytes sent.
   * The connection ends with the answer, which a client that still writes may miss: 0.
   */
  async function post(headers: object, body?: string): Promise<{ status: number; sent: number }> {
    const outgoing = request(`${url}/v1/sandboxes`, { method: 'POST', headers: { ...headers } });
    const answered = new Promise<number>((resolve) => {
      outgoing.on('response', ({ statusCode = 0 }) => resolve(statusCode));
      outgoing.on('error', () => resolve(0));
    });
    const chunk = Buffer.alloc(65_536, ' ');
    let sent = 0;
    if (body !== undefined) outgoing.end(body);
    const pump = setInterval(() => {
      if (body !== undefined || outgoing.writableNeedDrain || outgoing.destroyed) return;
      outgoing.write(chunk);
      sent += chunk.length;
    }, 1);
    const status = await answered;
    clearInterval(pump);
    outgoing.destroy();
    return { status, sent };
  }

  test('one with its length is refused', async () => {
    expect([413, 0]).toContain((await post(authorized, large)).status);
  });

  test('of one without an end, no more is taken than the limit', async () => {
    const { status, sent } = await post(authorized);
    expect([413, 0]).toContain(status);
    expect(sent).toBeLessThan(16 * MAX_BODY);
  });

  test('without a key, none is read', async () => {
    const { status, sent } = await post({});
    expect([401, 0]).toContain(status);
    expect(sent).toBeLessThan(16 * MAX_BODY);
  });

  test.each([
    ['/v1/sandboxes', 401],
    ['/sandboxes', 401],
    ['/process.Process/List', 502],
    ['/process.Process/Start', 502],
    ['/filesystem.Filesystem/Stat', 502],
    ['/files', 502],
  ])('of %s, who has no key is answered before the body comes', async (path, status) => {
    const outgoing = request(`${url}${path}`, { method: 'POST', headers: { 'Transfer-Encoding': 'chunked' } });
    outgoing.on('error', () => {});
    outgoing.flushHeaders();
    const answer = await new Promise<number | undefined>((resolve) => {
      outgoing.once('response', ({ statusCode }) => resolve(statusCode));
    });
    expect(answer).toBe(status);
    outgoing.destroy();
  });

  test('as much as the limit is read', async () => {
    const rest = MAX_BODY - JSON.stringify({ image: 'a', env: { A: '' } }).length;
    const words = 'x'.repeat(30_000);
    const env = Object.fromEntries(Array.from({ length: Math.floor(rest / 30_020) }, (_, n) => [`A${n}`, words]));
    expectProblem(await create({ image: 'a', env }), 'quota');
  });
});

describe('a request for a WebSocket that gets another answer', () => {
  const head = (path: string, more = '') =>
    `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${more}\r\n`;

  /** Sends it, and never closes its side. Resolves when the server has closed all. */
  async function closed(bytes: string, to = url): Promise<string> {
    const { hostname, port } = new URL(to);
    const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
    let answer = '';
    socket.setEncoding('latin1').on('data', (piece) => {
      answer += piece;
    });
    socket.write(bytes);
    const failed = new Promise((resolve) => socket.once('error', resolve));
    await once(socket, 'end');
    // What is sent to a connection that is closed comes back as a reset.
    const pushing = setInterval(() => socket.write('more'), 20);
    try {
      await failed;
    } finally {
      clearInterval(pushing);
      socket.destroy();
    }
    return answer;
  }

  test.each([
    ['without a key', '/v1/jobs', '', 401],
    ['of no path', '/nothing', '', 404],
    ['of another operation', '/v1/jobs', `Authorization: Bearer ${key}\r\n`, 200],
    ['of no sandbox', '/v1/sandboxes/sb-0/exec', `Authorization: Bearer ${key}\r\n`, 404],
  ])('%s is closed with it, whatever the client does', async (_, path, more, status) => {
    expect(await closed(head(path, more))).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  });
});

describe('what is no HTTP', () => {
  /** Sends bytes on a connection of their own. Returns all that comes back. */
  async function raw(bytes: string): Promise<string> {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    socket.on('error', () => {});
    socket.write(bytes);
    return await text(socket);
  }
  const head = () => `POST /v1/sandboxes HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${key}\r\n`;

  test.each([
    ['two lengths', () => `${head()}Content-Length: 2\r\nContent-Length: 20\r\n\r\n{}`],
    ['a length and chunks', () => `${head()}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['an encoding that hides chunks', () => `${head()}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ['a header over two lines', () => `${head()}X: a\r\n b: c\r\n\r\n`],
    ['headers without an end', () => `${head()}X: ${'x'.repeat(100_000)}\r\n\r\n`],
    ['another protocol', () => '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
  ])('%s gets an error and the end', async (_name, bytes) => {
    const answer = await raw(bytes());
    expect(answer.startsWith('HTTP/1.1 400 Bad Request\r\n')).toBe(true);
    expect(problemSchema.parse(JSON.parse(answer.split('\r\n\r\n')[1] ?? ''))).toMatchObject({ code: 'bad-request' });
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  });
});

describe('the document', () => {
  test('is checked in', () => {
    const file = new URL('../../../docs/serve.openapi.json', import.meta.url);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(JSON.parse(JSON.stringify(openApiDocument())));
  });

  /** What operations of the document are asked for: some of it as they say, and some not. */
  const word = fc.oneof(fc.string(), fc.constantFrom('debian:12', 'sb-0000000000000000', '__proto__', '/etc', '\0'));
  const value = fc.oneof(fc.jsonValue(), fc.integer(), fc.double(), word, fc.array(word), fc.dictionary(word, word));
  const paths = Object.entries(JSON.parse(JSON.stringify(openApiDocument())).paths as Record<string, object>);
  const operations = paths.flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
  const asked = fc.constantFrom(...operations).chain(({ method, path, operation }) => {
    const { parameters, requestBody, responses } = operation;
    const named = parameters
      .filter((each: { in: string }) => each.in === 'query')
      .map((each: { name: string }) => each.name);
    const fields = Object.keys(requestBody?.content['application/json']?.schema.properties ?? {});
    const body = fields.length === 0 ? fc.constant({}) : fc.dictionary(fc.constantFrom(...fields), value);
    const query = fc.dictionary(fc.constantFrom('other', ...named), word);
    return fc.record({
      ...{ method: fc.constant(method), path: fc.constant(path), responses: fc.constant(Object.keys(responses)) },
      ...{ id: word, query, body: method === 'POST' ? fc.oneof(body, value) : fc.constant(undefined) },
    });
  });

  // Each takes milliseconds, or a tenth of a second on a host that other tests keep busy.
  test('each request gets an answer that its operation names', { timeout: 600_000 }, async () => {
    expect(operations.length).toBe(39);
    const anyKey = service.key('acme', 'operator');
    await fc.assert(
      fc.asyncProperty(asked, async ({ method, path, responses, id, query, body }) => {
        const where = path.replace('{id}', encodeURIComponent(id) || 'x');
        const words = new URLSearchParams(query).toString();
        const answer = await send(`${url}${where}?${words}`, { method, key: anyKey, body });
        // A path without a word in it is another one.
        expect([...responses, '404']).toContain(String(answer.status));
        expect(answer.status).toBeLessThan(500);
        if (answer.status >= 400) problemSchema.parse(answer.body);
      }),
      fuzzing(1000),
    );
  });
});
