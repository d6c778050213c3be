// Snapshots and forks of a sandbox whose supervisor a test plays: what fails leaves nothing, what is under
// way holds its share, and nobody reaches another's.
import { readdirSync, rmSync } from 'node:fs';
import { expect, test } from 'vitest';
import { defer } from '../../../sandbox/deferred.js';
import { SandboxError } from '../../../sandbox/errors.js';
import { specSchema } from '../../../service/records.js';
import { openDatabase } from '../../../service/store/database.js';
import { SandboxStore } from '../../../service/store/sandbox-store.js';
import { SnapshotStore } from '../../../service/store/snapshot-store.js';
import { TenantStore } from '../../../service/store/tenant-store.js';
import { HOST, OwnService, send } from '../../fixtures/service.js';
import { tar } from '../../fixtures/tar-writer.js';
import { ID, Left } from './left.js';

const SPEC = specSchema.parse({ image: 'debian:12' });
/** What the sandbox holds on the disk, and with it what one of its copies does. */
const [OWN, COPY] = [SPEC.disk, SPEC.disk + SPEC.memory];
/** No copy has it: none starts. */
const VOLUME = [{ type: 'volume', source: 'gone', target: '/gone' }] as const;

/** A sandbox on KVM that can be copied, of which no copy starts. */
async function leftOne(spec: object = {}): Promise<Left> {
  const left = new Left();
  const { digest } = await left.home.images.import(
    (async function* () {
      yield tar([{ path: 'etc/', type: '5', mode: 0o755 }]);
    })(),
    'empty:1',
  );
  await left.make('running', 'running', spec, { mounts: VOLUME }, digest);
  await left.start();
  return left;
}

/** What of snapshots is in the home. */
function filesOf(left: Left): string[] {
  try {
    return readdirSync(`${left.home.path}/snapshots`);
  } catch {
    return [];
  }
}

async function share(left: Left): Promise<[snapshots: number, disk: number, starting: number]> {
  const { body } = await left.call(left.key, 'GET', 'tenant');
  const { snapshots, held, sandboxes } = body as {
    snapshots: number;
    held: { disk: number };
    sandboxes: { starting: number };
  };
  return [snapshots, held.disk, sandboxes.starting];
}

async function snapshotOf(left: Left): Promise<string> {
  const { status, body } = await left.ask('POST', '/snapshots');
  expect({ status, body }).toMatchObject({ status: 201, body: { sandbox: ID } });
  return (body as { id: string }).id;
}

test('a copy that fails leaves nothing, and gives its share back', async () => {
  await using left = await leftOne();
  left.copy = async () => {
    throw new SandboxError('no-space', 'no room');
  };
  const told = { status: 503, body: { code: 'no-room' } };
  expect(await left.ask('POST', '/snapshots')).toMatchObject(told);
  expect(await left.ask('POST', '/fork', { count: 2 })).toMatchObject(told);
  expect(await share(left)).toEqual([0, OWN, 0]);
  expect(filesOf(left)).toEqual([]);
  const { body } = await left.call(left.key, 'GET', 'sandboxes?status=ended');
  expect((body as { sandboxes: object[] }).sandboxes).toMatchObject([{ origin: ID, reason: 'failed' }, { origin: ID }]);
  expect(await left.status()).toBe('running');
});

test('what is being copied holds its share, with all that is to continue it', async () => {
  await using left = await leftOne();
  left.service.set('acme', { disk: OWN + 3 * COPY });
  const copy = left.copy;
  const during = defer<void>();
  const done = defer<void>();
  left.copy = async (files) => {
    during.resolve();
    await done.promise;
    await copy(files);
  };
  const fork = left.ask('POST', '/fork', { count: 2 });
  await during.promise;
  expect(await share(left)).toEqual([0, OWN + 3 * COPY, 2]);
  expect(await left.call(left.key, 'POST', 'sandboxes', { image: 'none:1' })).toMatchObject({
    body: { code: 'quota', detail: expect.stringContaining('bytes of disks') },
  });
  expect(() => left.service.remove('acme')).toThrow('has sandboxes that have not ended');
  done.resolve();
  expect(await fork).toMatchObject({
    status: 201,
    body: { sandboxes: [1, 2].map(() => ({ origin: ID, status: 'ended', error: 'the snapshot cannot go on here' })) },
  });
  expect(await share(left)).toEqual([0, OWN, 0]);
  expect(filesOf(left)).toEqual([]);
});

test('of a sandbox that says much, there are fewer copies in a fork', async () => {
  const words = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`n${n}`, 'x'.repeat(30_000)]));
  await using left = await leftOne({ env: words(20) });
  left.service.set('acme', { sandboxes: 100, disk: OWN + 100 * COPY });
  const told = { status: 400, body: { detail: 'of a spec as long as this one, 6 copies are the most' } };
  expect(await left.ask('POST', '/fork', { count: 7, metadata: words(20) })).toMatchObject(told);
  expect([await share(left), filesOf(left)]).toEqual([[0, OWN, 0], []]);
  expect(await left.ask('POST', '/fork', { count: 6, metadata: words(20) })).toMatchObject({ status: 201 });
  expect(await left.ask('POST', '/fork', { count: 7 })).toMatchObject({ status: 201 });
});

test('a second fork at the same time gets what the first leaves, or nothing', async () => {
  await using left = await leftOne();
  left.service.set('acme', { disk: OWN + 2 * COPY });
  expect(await left.ask('POST', '/fork', { count: 2 })).toMatchObject({ body: { code: 'quota' } });
  expect(await share(left)).toEqual([0, OWN, 0]);
  const forks = await Promise.all([1, 2].map(() => left.ask('POST', '/fork', {})));
  // One waits for the other's copy, and no share is given twice.
  for (const { status, body } of forks) {
    if (status !== 201) expect(body).toMatchObject({ code: 'quota' });
  }
  expect(forks.some(({ status }) => status === 201)).toBe(true);
  expect(await share(left)).toEqual([0, OWN, 0]);
  expect(filesOf(left)).toEqual([]);
});

test('one with placeholders of secrets is not copied: no proxy of a copy would be what its memory knows', async () => {
  const secrets = [{ name: 'TOKEN', env: 'TOKEN', placeholder: { hosts: ['api.example.com'] } }];
  await using left = await leftOne({ secrets, network: 'public' });
  left.copy = async () => expect.unreachable();
  for (const path of ['/snapshots', '/fork']) {
    expect(await left.ask('POST', path, path === '/fork' ? {} : undefined)).toMatchObject({
      status: 400,
      body: { code: 'bad-request', detail: expect.stringContaining('placeholders') },
    });
  }
  expect(await share(left)).toEqual([0, OWN, 0]);
});

test('a snapshot that a sandbox is about to continue is removed afterwards', async () => {
  await using left = await leftOne();
  const id = await snapshotOf(left);
  const files = filesOf(left);
  expect(await share(left)).toEqual([1, OWN + COPY, 0]);
  const { start, removal } = await left.home.containers.withLock(async () => {
    const starting = left.call(left.key, 'POST', `snapshots/${id}/sandboxes`, {}, { 'Idempotency-Key': 'key' });
    while ((await share(left))[2] === 0);
    const removing = left.call(left.key, 'DELETE', `snapshots/${id}`);
    // From now on nobody begins to continue it.
    while ((await left.call(left.key, 'GET', `snapshots/${id}`)).status === 200);
    expect(await left.call(left.key, 'POST', `snapshots/${id}/sandboxes`, {})).toMatchObject({ status: 404 });
    expect(filesOf(left)).toEqual(files);
    // Until it is gone it is one of the tenant's.
    expect(await share(left)).toEqual([1, OWN + 2 * COPY, 1]);
    return { start: starting, removal: removing };
  });
  expect(await start).toMatchObject({ status: 409, body: { detail: 'the snapshot cannot go on here' } });
  expect(await removal).toMatchObject({ status: 204 });
  expect(await share(left)).toEqual([0, OWN, 0]);
  expect(filesOf(left)).toEqual([]);
});

test('two removals at once are told when its files are gone', async () => {
  await using left = await leftOne();
  const id = await snapshotOf(left);
  const removals = [1, 2].map(async () => {
    const { status } = await left.call(left.key, 'DELETE', `snapshots/${id}`);
    return [status, filesOf(left)];
  });
  for (const told of await Promise.all(removals))
    expect([
      [204, []],
      [404, []],
    ]).toContainEqual(told);
});

test('a request is answered again, also when its snapshot is gone', async () => {
  await using left = await leftOne();
  const id = await snapshotOf(left);
  const other = left.service.tenant('other');
  {
    using database = openDatabase(left.service.folder);
    const acme = new TenantStore(database).find('acme')!;
    const sandboxes = new SandboxStore(database);
    sandboxes.add(acme, HOST, { id: 'sb-2', spec: { ...SPEC, lifetime: 5000 }, origin: id, key: 'key' });
    sandboxes.run('sb-2');
  }
  const again = (key: string, body: object, headers?: object) =>
    left.call(key, 'POST', `snapshots/${id}/sandboxes`, body, headers);
  const keyed = { 'Idempotency-Key': 'key' };
  for (const isThere of [true, false]) {
    expect(await again(left.key, { lifetime: 5000 }, keyed)).toMatchObject({ status: 201, body: { id: 'sb-2' } });
    expect(await again(left.key, { lifetime: 6000 }, keyed)).toMatchObject({ body: { code: 'conflict' } });
    expect(await again(other, { lifetime: 5000 }, keyed)).toMatchObject({ body: { detail: 'no such snapshot' } });
    if (isThere) await left.call(left.key, 'DELETE', `snapshots/${id}`);
  }
  expect(await again(left.key, { lifetime: 5000 })).toMatchObject({ status: 404 });
  const unknown = { 'Idempotency-Key': 'another' };
  expect(await again(left.key, { lifetime: 5000 }, unknown)).toMatchObject({ status: 404 });
});

test("another tenant's are what there is not, whatever is wrong with the request too", async () => {
  await using left = await leftOne();
  const id = await snapshotOf(left);
  const other = left.service.tenant('other', { snapshots: 0, sandboxes: 0, disk: 1 });
  const asE2b = (path: string, method: string, body?: object) =>
    send(`${left.url}${path}`, { method, headers: { 'X-API-Key': other }, ...(body && { body }) });
  const all = async (sandbox: string, snapshot: string) => [
    await left.call(other, 'POST', `sandboxes/${sandbox}/snapshots`),
    await left.call(other, 'POST', `sandboxes/${sandbox}/fork`, { count: 100 }),
    await left.call(other, 'GET', `snapshots/${snapshot}`),
    await left.call(other, 'DELETE', `snapshots/${snapshot}`),
    await left.call(other, 'POST', `snapshots/${snapshot}/sandboxes`, {}, { 'Idempotency-Key': 'key' }),
    await left.call(other, 'GET', `snapshots?before=${snapshot}`),
    await asE2b(`/sandboxes/${sandbox}/fork`, 'POST', {}),
    await asE2b(`/sandboxes/${sandbox}/snapshots`, 'POST', {}),
    await asE2b('/sandboxes', 'POST', { templateID: snapshot, envVars: { a: 'b' } }),
    await asE2b(`/templates/${snapshot}`, 'DELETE'),
    await asE2b(`/snapshots?nextToken=${snapshot}`, 'GET'),
  ];
  const answers = async (sandbox: string, snapshot: string) =>
    (await all(sandbox, snapshot)).map(({ status, body }) => [status, JSON.stringify(body)]);
  const told = await answers(ID, id);
  expect(told).toEqual(await answers('sb-0000000000000000', 'sn-0000000000000000'));
  expect(told.map(([status]) => status)).toEqual([404, 404, 404, 404, 404, 400, 404, 404, 404, 404, 400]);
  expect((await left.call(other, 'GET', `snapshots?sandbox=${ID}`)).body).toEqual({ snapshots: [] });
  expect((await asE2b(`/snapshots?sandboxID=${ID}&name=${id}`, 'GET')).body).toEqual([]);
  expect(await left.call(left.key, 'GET', `snapshots/${id}`)).toMatchObject({ status: 200 });
});

test('a tenant is removed with its snapshots', async () => {
  await using service = new OwnService();
  service.tenant('acme');
  {
    using database = openDatabase(service.folder);
    const [acme] = new TenantStore(database).list();
    const sandboxes = new SandboxStore(database);
    const { record } = sandboxes.add(acme!, HOST, { id: ID, spec: SPEC });
    const snapshots = new SnapshotStore(database);
    snapshots.add(acme!, HOST, { id: 'sn-1', of: record, status: 'making' });
    snapshots.ready('sn-1');
    sandboxes.end(record, { reason: 'stopped' });
  }
  service.remove('acme');
  const key = service.tenant('acme');
  const url = await service.start();
  expect((await send(`${url}/v1/snapshots`, { key })).body).toEqual({ snapshots: [] });
  expect((await send(`${url}/v1/tenant`, { key })).body).toMatchObject({ held: { disk: 0 } });
  rmSync(`${service.folder}/tenants/acme`, { recursive: true });
});
