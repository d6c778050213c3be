// A server starts whatever state the homes of its tenants are in.
import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { specSchema } from '../../../service/records.js';
import { openDatabase } from '../../../service/store/database.js';
import { SandboxStore } from '../../../service/store/sandbox-store.js';
import { SnapshotStore } from '../../../service/store/snapshot-store.js';
import { TenantStore } from '../../../service/store/tenant-store.js';
import { HOST, OwnService, send } from '../../fixtures/service.js';

const SPEC = specSchema.parse({ image: 'debian:12' });

test("a home that cannot be read stops neither the server nor others' sandboxes from being recovered", async () => {
  await using service = new OwnService();
  const keys = { broken: service.tenant('broken'), whole: service.tenant('whole') };
  const database = openDatabase(service.folder);
  const [tenants, sandboxes] = [new TenantStore(database).list(), new SandboxStore(database)];
  // What a server leaves that is killed: each has one that starts, and one that ran.
  for (const tenant of tenants) {
    for (const id of [`sb-${tenant.name}-starts`, `sb-${tenant.name}-ran`]) {
      sandboxes.add(tenant, HOST, { id, spec: SPEC });
    }
    sandboxes.run(`sb-${tenant.name}-ran`);
  }
  database.close();
  const home = `${service.folder}/tenants/broken`;
  rmSync(home, { recursive: true });
  mkdirSync(home);
  writeFileSync(`${home}/containers`, 'no folder');

  const url = await service.start();
  const states = async (key: string) => {
    const { body } = await send(`${url}/v1/sandboxes`, { key });
    const { sandboxes: found } = body as { sandboxes: { status: string; error?: string }[] };
    return found.map(({ status, error }) => [status, error]);
  };
  for (const key of Object.values(keys)) {
    expect(await states(key)).toEqual([
      ['ended', 'it ended while no server ran'],
      ['ended', 'the server ended while it started'],
    ]);
  }
  // The administrator is told of the home.
  expect(service.faults).toEqual([
    expect.stringMatching(/^cannot remove what an earlier server left of broken: .*containers/),
  ]);
});

test('of snapshots, what is whole and has a record stays, and all else is removed', async () => {
  await using service = new OwnService();
  const keys = { acme: service.tenant('acme'), broken: service.tenant('broken') };
  const ids = ['making', 'forking', 'removing', 'ready', 'gone'].map((_, n) => `sn-000000000000000${n}`);
  {
    using database = openDatabase(service.folder);
    const [tenants, sandboxes] = [new TenantStore(database).list(), new SandboxStore(database)];
    const [acme, broken] = tenants;
    const store = new SnapshotStore(database);
    const add = (tenant: typeof acme, id: string, status: 'making' | 'forking') => {
      const { record } = sandboxes.add(tenant!, HOST, { id: `sb-${id}`, spec: SPEC });
      store.add(tenant!, HOST, { id, of: record, status });
    };
    const [making, forking, removing, ready] = ids;
    add(acme, making!, 'making');
    add(acme, forking!, 'forking');
    for (const id of [removing, ready]) {
      add(acme, id!, 'making');
      store.ready(id!);
    }
    store.removing('acme', removing!);
    add(broken, 'sn-00000000000000ff', 'making');
  }
  const home = `${service.folder}/tenants/acme/snapshots`;
  mkdirSync(home);
  // The administrator's own one stays, and nothing of one that was never named.
  for (const [n, name] of [...ids, 'own', undefined].entries()) {
    const folder = `.${String(n).repeat(64)}`;
    mkdirSync(`${home}/${folder}`);
    if (name !== undefined) symlinkSync(folder, `${home}/${name}`);
  }
  rmSync(`${service.folder}/tenants/broken`, { recursive: true });
  writeFileSync(`${service.folder}/tenants/broken`, 'no folder');
  const url = await service.start();
  const found = async (key: string) => {
    const { body } = await send(`${url}/v1/snapshots`, { key });
    const { body: tenant } = await send(`${url}/v1/tenant`, { key });
    return [(body as { snapshots: { id: string }[] }).snapshots.map(({ id }) => id), tenant];
  };
  expect(await found(keys.acme)).toMatchObject([[ids[3]], { snapshots: 1 }]);
  expect(readdirSync(home).sort()).toEqual([`.${'3'.repeat(64)}`, `.${'5'.repeat(64)}`, 'own', ids[3]].sort());
  // What may be there still holds its share, and so does its sandbox.
  expect(await found(keys.broken)).toMatchObject([[], { snapshots: 1, held: { disk: 2 * SPEC.disk + SPEC.memory } }]);
});

test('an end that has failed is tried again, whatever lifetime a sandbox is given meanwhile', async () => {
  await using service = new OwnService();
  const key = service.tenant('acme');
  const database = openDatabase(service.folder);
  const [tenant] = new TenantStore(database).list();
  const [id, container] = ['sb-0000000000000001', 'a'.repeat(64)];
  const sandboxes = new SandboxStore(database);
  sandboxes.add(tenant!, HOST, { id, spec: SPEC });
  sandboxes.run(id);
  database.close();
  // A container whose record cannot be read: it is not removed.
  const containers = `${service.folder}/tenants/acme/containers`;
  mkdirSync(`${containers}/${container}/config.json`, { recursive: true });
  mkdirSync(`${containers}/names`);
  symlinkSync(container, `${containers}/names/${id}`);

  const url = await service.start();
  const status = async () => ((await send(`${url}/v1/sandboxes/${id}`, { key })).body as { status: string }).status;
  expect(await status()).toBe('running');
  const request = { method: 'POST', headers: { 'X-API-Key': key }, body: { timeout: 3600 } };
  expect((await send(`${url}/sandboxes/${id}/timeout`, request)).status).toBe(204);
  await expect.poll(() => service.faults.at(-1)).toContain(`cannot end ${id} of acme`);
  rmSync(`${containers}/${container}`, { recursive: true });
  while ((await status()) !== 'ended') await sleep(100);
});
