// What the service keeps, in a real database: what is committed survives, shares hold, keys are
// hashes.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { builtFile } from '../../../installation/index.js';
import { Tenants } from '../../../service/index.js';
import { jobSpecSchema } from '../../../service/job.js';
import { specSchema, type Tenant } from '../../../service/records.js';
import { type Database, holdFolder, MIGRATIONS, openDatabase } from '../../../service/store/database.js';
import { FileStore } from '../../../service/store/file-store.js';
import { held } from '../../../service/store/held.js';
import { JobStore } from '../../../service/store/job-store.js';
import { SandboxStore } from '../../../service/store/sandbox-store.js';
import { SnapshotStore } from '../../../service/store/snapshot-store.js';
import { Statistics } from '../../../service/store/statistics.js';
import { TenantStore } from '../../../service/store/tenant-store.js';
import { addUsage } from '../../../service/store/usage.js';

const GIB = 2 ** 30;
const ACME: Tenant = {
  name: 'acme',
  sandboxes: 3,
  snapshots: 2,
  jobs: 3,
  cpus: 4,
  memory: 4 * GIB,
  disk: 4 * GIB,
  files: GIB,
  rate: '10/s',
};
const OTHER: Tenant = { ...ACME, name: 'other' };
const HOST = { cpus: 6, memory: 16 * GIB, disk: 6 * GIB };
const SPEC = specSchema.parse({ image: 'debian:12' });

let folder: string;
let database: Database;
let tenants: TenantStore;
let sandboxes: SandboxStore;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-store-'));
  database = openDatabase(folder);
  tenants = new TenantStore(database);
  sandboxes = new SandboxStore(database);
  tenants.add(ACME);
  tenants.add(OTHER);
});

afterEach(() => {
  database.close();
  rmSync(folder, { recursive: true });
});

const add = (tenant: Tenant, id: string, spec: object = {}, key?: string) =>
  sandboxes.add(tenant, HOST, { id, spec: { ...SPEC, ...spec }, key });

describe('shares', () => {
  test('a sandbox counts from its record on, until it has ended', () => {
    for (const id of ['a', 'b', 'c']) add(ACME, id);
    expect(() => add(ACME, 'd')).toThrow(expect.objectContaining({ code: 'quota' }));
    sandboxes.run('a');
    expect(() => add(ACME, 'd')).toThrow(expect.objectContaining({ code: 'quota' }));
    sandboxes.end(sandboxes.find('acme', 'a'), { reason: 'stopped' });
    expect(add(ACME, 'd').isNew).toBe(true);
  });

  test.each([
    ['CPUs', { cpus: 3 }],
    ['memory', { memory: 3 * GIB }],
    ['disks', { disk: 3 * GIB }],
  ])('a share of %s is not exceeded, and a refused sandbox leaves no record', (_name, spec) => {
    add(ACME, 'a', spec);
    expect(() => add(ACME, 'b', spec)).toThrow(expect.objectContaining({ code: 'quota' }));
    expect([...sandboxes.list('acme', { limit: 10 })].map(({ id }) => id)).toEqual(['a']);
  });

  test("the host's room is shared by all tenants", () => {
    add(ACME, 'a', { cpus: 4 });
    expect(() => add(OTHER, 'b', { cpus: 3 })).toThrow(expect.objectContaining({ code: 'no-room' }));
    expect(add(OTHER, 'b', { cpus: 2 }).isNew).toBe(true);
  });

  test("the host's disks too, until a sandbox has ended", () => {
    add(ACME, 'a', { disk: 4 * GIB });
    expect(() => add(OTHER, 'b', { disk: 3 * GIB })).toThrow(expect.objectContaining({ code: 'no-room' }));
    expect(add(OTHER, 'b', { disk: 2 * GIB }).isNew).toBe(true);
    sandboxes.end(sandboxes.find('acme', 'a'), { reason: 'stopped' });
    expect(add(ACME, 'c', { disk: 4 * GIB }).isNew).toBe(true);
  });
});

describe('snapshots', () => {
  const SMALL = { memory: GIB / 2, disk: GIB / 2 };
  const keep = (tenant: Tenant, id: string, status: 'making' | 'forking' = 'making') =>
    new SnapshotStore(database).add(tenant, HOST, { id, of: sandboxes.find(tenant.name, 'a'), status });

  test('one holds disk and memory of its sandbox from its record on, until its files are gone', () => {
    const store = new SnapshotStore(database);
    add(ACME, 'a', SMALL);
    keep(ACME, 'sn-1');
    expect(held(database, 'acme')).toEqual({ cpus: 1, memory: GIB / 2, disk: 1.5 * GIB });
    store.ready('sn-1');
    store.removing('acme', 'sn-1');
    expect(held(database, 'acme').disk).toBe(1.5 * GIB);
    store.remove('sn-1');
    expect(held(database, 'acme').disk).toBe(GIB / 2);
  });

  test('their number and their disk are bounded, and a refused one leaves no record', () => {
    const store = new SnapshotStore(database);
    add(ACME, 'a', SMALL);
    for (const id of ['sn-1', 'sn-2']) keep(ACME, id);
    expect(() => keep(ACME, 'sn-3')).toThrow("the tenant's share is 2 snapshots");
    // What forks need is bounded by the disk alone.
    keep(ACME, 'sn-4', 'forking');
    expect(store.count('acme')).toBe(2);
    expect(() => keep(ACME, 'sn-5', 'forking')).toThrow(expect.objectContaining({ code: 'quota' }));
    expect([...store.ids()]).toEqual(['sn-1', 'sn-2', 'sn-4']);
    add(OTHER, 'b', { ...SMALL, disk: 1.5 * GIB });
    const other = { id: 'sn-6', of: sandboxes.find('other', 'b'), status: 'making' } as const;
    expect(() => store.add(OTHER, HOST, other)).toThrow(expect.objectContaining({ code: 'no-room' }));
  });

  test('only one that is whole is found, by its tenant alone', () => {
    const store = new SnapshotStore(database);
    add(ACME, 'a', SMALL);
    keep(ACME, 'sn-1');
    keep(ACME, 'sn-2', 'forking');
    const none = expect.objectContaining({ code: 'not-found', message: 'no such snapshot' });
    for (const id of ['sn-1', 'sn-2', 'sn-0']) expect(() => store.find('acme', id)).toThrow(none);
    for (const id of ['sn-1', 'sn-2']) expect(() => store.removing('acme', id)).toThrow(none);
    expect(store.unfinished().map(({ id }) => id)).toEqual(['sn-1', 'sn-2']);
    store.ready('sn-1');
    store.ready('sn-2');
    expect(store.unfinished().map(({ id }) => id)).toEqual(['sn-2']);
    expect(store.find('acme', 'sn-1')).toMatchObject({ tenant: 'acme', sandbox: 'a', spec: { ...SPEC, ...SMALL } });
    expect(() => store.find('other', 'sn-1')).toThrow(none);
    expect(() => store.removing('other', 'sn-1')).toThrow(none);
    expect([...store.list('other', { limit: 9 })]).toEqual([]);
    expect([...store.list('acme', { limit: 9, sandbox: 'b' })]).toEqual([]);
    expect([...store.list('acme', { limit: 9, sandbox: 'a' })].map(({ id }) => id)).toEqual(['sn-1']);
    store.removing('acme', 'sn-1');
    expect([...store.list('acme', { limit: 9 })]).toEqual([]);
    // A removal that has failed is asked for again.
    store.removing('acme', 'sn-1');
  });

  test('what continues one holds its memory on the disk too, and all of a fork get their share or none', () => {
    const copies = (...ids: string[]) => ids.map((id) => ({ id, spec: { ...SPEC, ...SMALL }, origin: 'sn-1' }));
    expect(sandboxes.addAll(ACME, HOST, copies('a', 'b'))).toMatchObject([{ origin: 'sn-1' }, { id: 'b' }]);
    expect(held(database, 'acme')).toEqual({ cpus: 2, memory: GIB, disk: 2 * GIB });
    expect(() => sandboxes.addAll(ACME, HOST, copies('c', 'd'))).toThrow("the tenant's share is 3 sandboxes");
    expect(sandboxes.alive().map(({ id }) => id)).toEqual(['a', 'b']);
    // A pause of one saves memory in place of that.
    sandboxes.run('a');
    sandboxes.pausing(sandboxes.find('acme', 'a'), HOST, true);
    sandboxes.pause('a', 'disk');
    expect(held(database, 'acme')).toEqual({ cpus: 1, memory: GIB / 2, disk: 2 * GIB });
  });

  test('a copy is opened by tokens of its own, and by none of what it continues', () => {
    const spec = { ...SPEC, ...SMALL };
    sandboxes.addAll(ACME, HOST, [
      { id: 'a', spec },
      { id: 'b', spec, origin: 'a' },
    ]);
    for (const id of ['a', 'b']) sandboxes.run(id);
    const [a, b] = ['a', 'b'].map((id) => ({ own: sandboxes.token(id)!, ports: sandboxes.portsToken(id)! }));
    expect(sandboxes.authenticate('b', b!.own)).toBe('acme');
    expect(sandboxes.authenticatePorts('b', b!.ports)).toBe('acme');
    expect(sandboxes.authenticate('b', a!.own)).toBeUndefined();
    expect(sandboxes.authenticatePorts('b', a!.ports)).toBeUndefined();
  });

  test('a list goes on from a snapshot that is there alone', () => {
    const store = new SnapshotStore(database);
    add(ACME, 'a', SMALL);
    for (const id of ['sn-1', 'sn-2']) {
      keep(ACME, id);
      store.ready(id);
    }
    expect([...store.list('acme', { limit: 1, before: 'sn-2' })].map(({ id }) => id)).toEqual(['sn-1']);
    const cursor = store.cursor('acme', 'sn-2');
    store.remove('sn-2');
    expect([...store.list('acme', { limit: 1, before: cursor })].map(({ id }) => id)).toEqual(['sn-1']);
    // Nothing would look like the end of the list.
    expect(() => [...store.list('acme', { limit: 1, before: 'sn-2' })]).toThrow(/list from the newest one/);
  });

  test('an idempotency key belongs to what is continued, too', () => {
    const copy = { spec: { ...SPEC, ...SMALL }, key: 'key' };
    sandboxes.add(ACME, HOST, { ...copy, id: 'a', origin: 'sn-1' });
    expect(sandboxes.add(ACME, HOST, { ...copy, id: 'b', origin: 'sn-1' })).toMatchObject({ isNew: false });
    for (const origin of ['sn-2', undefined]) {
      expect(() => sandboxes.add(ACME, HOST, { ...copy, id: 'b', origin })).toThrow(
        expect.objectContaining({ code: 'conflict' }),
      );
    }
  });

  test('a tenant that is removed has none', () => {
    add(ACME, 'a', SMALL);
    keep(ACME, 'sn-1');
    sandboxes.end(sandboxes.find('acme', 'a'), { reason: 'stopped' });
    tenants.remove('acme');
    expect([...new SnapshotStore(database).ids()]).toEqual([]);
  });
});

describe('idempotency keys', () => {
  test('a second request finds the first, also after it has ended', () => {
    add(ACME, 'a', {}, 'key');
    sandboxes.run('a');
    expect(add(ACME, 'b', {}, 'key')).toMatchObject({ isNew: false, record: { id: 'a', status: 'running' } });
    sandboxes.end(sandboxes.find('acme', 'a'), { reason: 'stopped' });
    expect(add(ACME, 'c', {}, 'key')).toMatchObject({ isNew: false, record: { id: 'a', status: 'ended' } });
  });

  test('that of one that did not start is free again', () => {
    add(ACME, 'a', {}, 'key');
    sandboxes.end(sandboxes.find('acme', 'a'), { reason: 'failed', error: 'no' });
    expect(add(ACME, 'b', {}, 'key')).toMatchObject({ isNew: true, record: { id: 'b' } });
  });

  test('another spec is refused, and another tenant has keys of its own', () => {
    add(ACME, 'a', {}, 'key');
    expect(() => add(ACME, 'b', { cpus: 2 }, 'key')).toThrow(expect.objectContaining({ code: 'conflict' }));
    expect(add(OTHER, 'b', { cpus: 2 }, 'key').isNew).toBe(true);
  });
});

describe('records', () => {
  test('a state is left once', () => {
    add(ACME, 'a');
    expect([sandboxes.run('a'), sandboxes.run('a')]).toEqual([true, false]);
    const record = sandboxes.find('acme', 'a');
    expect([sandboxes.end(record, { reason: 'stopped' }), sandboxes.end(record, { reason: 'failed' })]).toEqual([
      true,
      false,
    ]);
    expect(sandboxes.run('a')).toBe(false);
    expect(sandboxes.find('acme', 'a')).toMatchObject({ status: 'ended', reason: 'stopped' });
  });

  test("a list has pages, newest first, and nothing of others'", () => {
    for (const id of ['a', 'b', 'c']) add(ACME, id);
    add(OTHER, 'x');
    const ids = (page: object) => [...sandboxes.list('acme', { limit: 2, ...page })].map(({ id }) => id);
    expect([ids({}), ids({ before: 'b' })]).toEqual([['c', 'b'], ['a']]);
    expect(() => ids({ before: 'x' })).toThrow(/list from the newest one/);
    sandboxes.run('b');
    expect(ids({ statuses: ['running'] })).toEqual(['b']);
    expect(() => sandboxes.find('acme', 'x')).toThrow(expect.objectContaining({ code: 'not-found' }));
  });

  test('of those that have ended, the newest are kept, and all others', () => {
    const few = new SandboxStore(database, 2);
    add(ACME, 'alive');
    for (const id of ['a', 'b', 'c', 'd']) {
      add(ACME, id);
      few.end(few.find('acme', id), { reason: 'stopped' });
    }
    expect([...few.list('acme', { limit: 10 })].map(({ id }) => id)).toEqual(['d', 'c', 'alive']);
  });
});

describe('tenants', () => {
  test('a key is its tenant, and no other text is', () => {
    const [key, others] = [tenants.addKey('acme'), tenants.addKey('other')];
    expect(tenants.authenticate(key)).toEqual({ tenant: ACME, scope: 'admin' });
    const last = key.endsWith('A') ? 'B' : 'A';
    const mixed = `${key.slice(0, 22)}${others.slice(22)}`;
    for (const wrong of [`${key.slice(0, -1)}${last}`, mixed, key.slice(0, -1), `${key}A`, ` ${key}`, '', 'tsvm_']) {
      expect(tenants.authenticate(wrong)).toBeUndefined();
    }
  });

  test('a key has its scope, and one from before there were scopes has all', () => {
    expect(tenants.authenticate(tenants.addKey('acme', 'read'))).toMatchObject({ scope: 'read' });
    const older = tenants.addKey('acme', 'read');
    const before = mkdtempSync(join(tmpdir(), 'tsvm-store-'));
    const old = new DatabaseSync(join(before, 'service.db'));
    const scopes = MIGRATIONS.findIndex((migration) => migration.includes('ADD COLUMN scope'));
    for (const migration of MIGRATIONS.slice(0, scopes)) old.exec(migration);
    old.exec(`PRAGMA user_version = ${scopes}`);
    old.exec("INSERT INTO tenants (name, sandboxes, cpus, memory) VALUES ('acme', 1, 1, 1)");
    const [, id = '', secret = ''] = /^tsvm_(.{16})_(.+)$/.exec(older) ?? [];
    const hash = createHash('sha256').update(secret).digest();
    old.prepare("INSERT INTO keys VALUES (?, 'acme', ?, '2026-01-01')").run(id, hash);
    old.close();
    const newer = openDatabase(before);
    try {
      expect(new TenantStore(newer).authenticate(older)).toMatchObject({ scope: 'admin' });
    } finally {
      newer.close();
      rmSync(before, { recursive: true });
    }
  });

  test('revoked keys are none, and a tenant that is removed has none', () => {
    const old = tenants.addKey('acme');
    tenants.removeKeys('acme');
    const key = tenants.addKey('acme');
    expect([tenants.authenticate(old), tenants.authenticate(key)?.tenant.name]).toEqual([undefined, 'acme']);
    tenants.remove('acme');
    expect(tenants.authenticate(key)).toBeUndefined();
  });

  test("no file of the folder has a key's secret", () => {
    const secret = tenants.addKey('acme').slice(22);
    const texts = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'latin1'));
    expect(texts.join('')).toContain('acme');
    expect(texts.filter((text) => text.includes(secret))).toEqual([]);
  });

  test.each(['', 'A', '-a', 'a/b', '..', 'a'.repeat(33), 'ä', 'a\n'])('%j is no name', (name) => {
    expect(() => tenants.add({ ...ACME, name })).toThrow(expect.objectContaining({ code: 'bad-request' }));
  });

  test('one with sandboxes that have not ended is not removed, and a name is taken once', () => {
    add(ACME, 'a');
    expect(() => tenants.remove('acme')).toThrow(expect.objectContaining({ code: 'conflict' }));
    expect(() => tenants.add(ACME)).toThrow(expect.objectContaining({ code: 'conflict' }));
    expect(() => tenants.remove('nobody')).toThrow(expect.objectContaining({ code: 'not-found' }));
    sandboxes.end(sandboxes.find('acme', 'a'), { reason: 'stopped' });
    tenants.remove('acme');
    expect(tenants.list().map(({ name }) => name)).toEqual(['other']);
  });
});

describe('a tenant that is removed', () => {
  test('is there until its files are gone: who is stopped meanwhile goes on', () => {
    using all = new Tenants(folder);
    const key = all.add({ ...ACME, name: 'gone' });
    // What cannot be removed now.
    rmSync(join(folder, 'tenants'), { recursive: true });
    writeFileSync(join(folder, 'tenants'), '');
    expect(() => all.remove('gone')).toThrow(/ENOTDIR/);
    expect([all.list().map(({ name }) => name), tenants.authenticate(key)]).toEqual([
      ['acme', 'gone', 'other'],
      undefined,
    ]);
    rmSync(join(folder, 'tenants'));
    all.remove('gone');
    expect(all.list()).toHaveLength(2);
  });

  test('leaves nothing to one of the same name, nor to a server', () => {
    const upload = join(folder, 'files/late/uploads');
    const late = () => mkdirSync(upload, { recursive: true });
    using all = new Tenants(folder);
    late();
    all.add({ ...ACME, name: 'late' });
    expect(existsSync(upload)).toBe(false);
    all.remove('late');
    late();
    new FileStore(folder).removeOthers(new Set(['acme', 'other']));
    expect(readdirSync(join(folder, 'files'))).toEqual([]);
  });
});

describe('what is looked at all the time', () => {
  // A tenant has up to 1000 jobs that have ended, and its use of 62 days.
  test('reads neither jobs that have ended nor what others have used', () => {
    const statements = new Set<string>();
    const watched = new Proxy(database, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        return (...given: unknown[]) => {
          if (name === 'prepare') statements.add(String(given[0]));
          return value.apply(target, given);
        };
      },
    });
    const jobs = new JobStore(watched);
    for (const id of ['job-1', 'job-2']) {
      jobs.add(ACME, HOST, { id, spec: jobSpecSchema.parse({ image: 'a', cpus: 3, disk: GIB }) });
    }
    expect(jobs.place(HOST, 'boot')?.id).toBe('job-1');
    expect(jobs.waits(HOST)).toEqual(new Map([['job-2', 'share']]));
    expect(jobs.placed().map(({ id }) => id)).toEqual(['job-1']);
    // Each submission and each end of a job looks so: not through all that waits, of whichever tenant.
    const often = [...statements];
    for (const tenant of [undefined, 'acme']) {
      const ids = (status: 'alive' | 'queued' | 'running') =>
        [...jobs.list(tenant, { limit: 10, status })].map(({ id }) => id);
      expect([ids('alive'), ids('queued'), ids('running')]).toEqual([['job-2', 'job-1'], ['job-2'], []]);
    }
    const lists = [...statements].length;
    const all = (tenant: string | undefined, before?: string) =>
      [...jobs.list(tenant, { limit: 10, before })].map(({ id }) => id);
    expect([all('acme'), all('acme', 'job-2'), all(undefined, 'job-2')]).toEqual([
      ['job-2', 'job-1'],
      ['job-1'],
      ['job-1'],
    ]);
    const sandboxes = new SandboxStore(watched);
    const snapshots = new SnapshotStore(watched);
    expect([[...sandboxes.list('acme', { limit: 1 })], [...snapshots.list('acme', { limit: 1 })]]).toEqual([[], []]);
    const pages = [...statements].slice(lists).filter((statement) => statement.includes('LIMIT'));
    expect(
      jobs.end({ id: 'job-1', attempts: 1 }, { reason: 'succeeded' }, { lines: '', truncated: false, offset: 0 }),
    ).toBe(true);
    jobs.expire();
    const statistics = new Statistics(watched);
    expect(statistics.held('acme')).toEqual({ cpus: 0, memory: 0, disk: 0 });
    expect(statistics.alive('jobs', ['acme', 'other']).filter(({ count }) => count > 0)).toEqual([
      { tenant: 'acme', status: 'queued', count: 1 },
    ]);
    for (const of of ['acme', undefined]) {
      expect(statistics.usage(of, 'day')).toMatchObject([{ jobs: 1, succeeded: 1, cpuSeconds: 3 }]);
    }
    const scanning = (scan: RegExp) => (statement: string) => {
      const plan = database.prepare(`EXPLAIN QUERY PLAN ${statement}`).all();
      return plan.some((row) => scan.test(JSON.stringify(row)));
    };
    expect([...statements].filter(scanning(/"SCAN (jobs|usage)"/))).toEqual([]);
    expect(often.filter(scanning(/"SCAN jobs(?! USING (COVERING )?INDEX jobs_placed")/))).toEqual([]);
    expect(statements.size).toBeGreaterThan(15);
    // A page begins at its place, and not at the newest record.
    expect(pages.length).toBe(4);
    expect(pages.filter(scanning(/(number|rowid)<\?/))).toEqual(pages);
  });

  // A spec has up to a million bytes.
  test('reads no spec, nor through one to what is behind it', () => {
    const jobs = new JobStore(database);
    const spec = jobSpecSchema.parse({ image: 'a', cpus: 3, disk: GIB, callback: 'https://example.com/' });
    for (const id of ['job-1', 'job-2', 'job-3']) jobs.add(ACME, HOST, { id, spec });
    jobs.cancel('acme', 'job-3');
    expect(jobs.place(HOST, 'boot')?.id).toBe('job-1');
    database.exec("UPDATE jobs SET spec = 'no JSON', stored = 1");
    expect(() => jobs.find('acme', 'job-2')).toThrow('JSON');
    expect(jobs.place(HOST, 'boot')).toBe(undefined);
    expect(jobs.waits(HOST)).toEqual(new Map([['job-2', 'share']]));
    expect([jobs.ordered(), jobs.expire()]).toEqual([[], false]);
    expect(jobs.takeTouched()).toEqual([{ id: 'job-3', tenant: 'acme', isAlive: false, hasOutputs: false }]);
    expect([...jobs.keepings('acme')].map(({ isAlive }) => isAlive)).toEqual([true, true, false]);
    expect(jobs.callbacksDue(4)).toEqual([{ id: 'job-3', tenant: 'acme' }]);
    jobs.makeRoom('acme', GIB);
    expect(jobs.stored('acme')).toBe(2);
    for (const table of ['jobs', 'sandboxes', 'snapshots']) {
      const columns = database.prepare(`SELECT name FROM pragma_table_info('${table}')`).all();
      expect(columns.at(-1)).toEqual({ name: 'spec' });
    }
  });

  test('what all tenants have used is what each has, and stays when one is removed', () => {
    const now = Date.parse('2026-05-05T05:30:00Z');
    const HOUR = 3_600_000;
    let at = 0;
    for (const [hours, tenant] of [
      [-63 * 24, 'acme'],
      [-30, 'other'],
      [-1, 'acme'],
      [-1, 'other'],
      [0, 'other'],
    ] as const) {
      addUsage(database, tenant, { jobs: 1, succeeded: at % 2, sandboxes: 2, cpuSeconds: ++at }, now + hours * HOUR);
    }
    const all = [
      { period: '2026-05-03T23', jobs: 1, succeeded: 1, sandboxes: 2, cpuSeconds: 2 },
      { period: '2026-05-05T04', jobs: 2, succeeded: 1, sandboxes: 4, cpuSeconds: 7 },
      { period: '2026-05-05T05', jobs: 1, succeeded: 0, sandboxes: 2, cpuSeconds: 5 },
    ];
    const statistics = new Statistics(database);
    expect(statistics.usage(undefined, 'hour')).toEqual(all);
    expect(statistics.usage('acme', 'hour').at(-1)).toMatchObject({ period: '2026-05-05T04', cpuSeconds: 3 });
    expect(statistics.usage(undefined, 'day').map(({ period, jobs }) => [period, jobs])).toEqual([
      ['2026-05-03', 1],
      ['2026-05-05', 3],
    ]);
    tenants.remove('other');
    expect(statistics.usage(undefined, 'hour')).toEqual(all);
  });
});

describe('the folder', () => {
  test('serves one process at a time', () => {
    const first = holdFolder(folder);
    expect(() => holdFolder(folder)).toThrow(expect.objectContaining({ code: 'conflict' }));
    first[Symbol.dispose]();
    holdFolder(folder)[Symbol.dispose]();
  });

  test.each(MIGRATIONS.map((_, at) => at + 1))('of version %i keeps what it has', (version) => {
    const old = join(folder, `of-${version}`);
    mkdirSync(old);
    const before = new DatabaseSync(join(old, 'service.db'));
    for (const migration of MIGRATIONS.slice(0, version)) before.exec(migration);
    before.exec(`PRAGMA user_version = ${version}`);
    before.exec("INSERT INTO tenants (name, sandboxes, cpus, memory) VALUES ('acme', 3, 4, 4000)");
    const insert = (table: string, more: object) => {
      const row = { tenant: 'acme', cpus: 1, memory: 1000, created: '2026-01-01T00:00:00.000Z', ...more };
      const names = Object.keys(row);
      const statement = `INSERT INTO ${table} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`;
      before.prepare(statement).run(...Object.values(row));
    };
    insert('sandboxes', { id: 'sb-1', spec: JSON.stringify(SPEC), status: 'running' });
    const job = {
      id: 'job-1',
      spec: JSON.stringify({ image: 'debian:12', disk: GIB }),
      status: 'running',
      priority: 0,
    };
    if (version >= 2) insert('jobs', job);
    const hours = [{ hour: '2026-01-01T01', jobs: 2, succeeded: 1, sandboxes: 0, cpuSeconds: 2.5 }];
    if (version >= 11) {
      const statement = before.prepare('INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?)');
      for (const row of hours) statement.run('acme', ...Object.values(row));
    }
    before.close();

    const after = openDatabase(old);
    try {
      expect(new TenantStore(after).find('acme')).toMatchObject({ name: 'acme', sandboxes: 3, cpus: 4, memory: 4000 });
      expect(new SandboxStore(after).alive()).toMatchObject([{ id: 'sb-1', spec: SPEC, status: 'running' }]);
      const jobs = new JobStore(after).placed();
      expect(jobs.map(({ id, spec }) => [id, spec.disk])).toEqual(version >= 2 ? [['job-1', GIB]] : []);
      if (version >= 11 && version < 15) {
        const used = hours.map(({ hour: period, ...rest }) => ({ period, ...rest }));
        expect(new Statistics(after).usage(undefined, 'hour')).toEqual(used);
      }
      // Of a version with this column, a row has it from its beginning.
      if (version < 6) expect(held(after, 'acme').disk).toBe(SPEC.disk + (version >= 2 ? GIB : 0));
    } finally {
      after.close();
    }
  });

  test('of an older version is as it was if it cannot be brought to this one', () => {
    const version = 13;
    const old = join(folder, 'old');
    mkdirSync(old);
    using before = new DatabaseSync(join(old, 'service.db'));
    for (const migration of MIGRATIONS.slice(0, version)) before.exec(migration);
    before.exec(`PRAGMA user_version = ${version}`);
    const schema = () => before.prepare('SELECT * FROM sqlite_schema, pragma_user_version').all();
    // The last one fails.
    before.exec('CREATE TABLE cursorKey (key TEXT)');
    const was = schema();
    expect(() => openDatabase(old)).toThrow(/cannot open the database in .*cursorKey/);
    expect(schema()).toEqual(was);
    before.exec('DROP TABLE cursorKey');
    openDatabase(old).close();
    expect(before.prepare('PRAGMA user_version').get()).toEqual({ user_version: MIGRATIONS.length });
  });

  test('says that the disk is full, and goes on when there is room again', () => {
    const pages = Object.values(database.prepare('PRAGMA page_count').get() ?? {})[0];
    database.exec(`PRAGMA max_page_count = ${pages}`);
    const spec = { metadata: Object.fromEntries(Array.from({ length: 9 }, (_, n) => [`n${n}`, 'x'.repeat(30_000)])) };
    expect(() => add(ACME, 'a', spec)).toThrow(/disk is full/);
    database.exec('PRAGMA max_page_count = 100000');
    expect(add(ACME, 'a', spec)).toMatchObject({ isNew: true });
  });

  test('that a server of an older version uses is not touched', () => {
    database.exec(`PRAGMA user_version = ${MIGRATIONS.length - 1}`);
    {
      using _server = holdFolder(folder);
      expect(() => openDatabase(folder)).toThrow(expect.objectContaining({ code: 'conflict' }));
      expect(() => new Tenants(folder)).toThrow('another tsvm serve uses');
    }
    expect(database.prepare('PRAGMA user_version').get()).toEqual({ user_version: MIGRATIONS.length - 1 });
  });

  test('of a later tsvm is not touched', () => {
    database.exec('PRAGMA user_version = 99');
    expect(() => openDatabase(folder)).toThrow(/its schema is 99/);
  });

  test.each(['10', '0/s', '10/d', '10000/s', '-1/s', ' 1/s', '1/s\n', ''])('%j is no rate', (rate) => {
    const refused = expect.objectContaining({ code: 'bad-request' });
    expect(() => tenants.add({ ...ACME, name: 'new', rate })).toThrow(refused);
    expect(() => tenants.set('acme', { rate })).toThrow(refused);
    expect(tenants.list()).toEqual([ACME, OTHER]);
  });

  test('keeps what a process told that was killed right after it', async () => {
    // Adds tenants, and tells each once it is committed.
    const program = `
      import(${JSON.stringify(builtFile('service.js'))}).then(({ Tenants }) => {
        const tenants = new Tenants(${JSON.stringify(folder)});
        for (let n = 0; ; n++) {
          tenants.add({ name: 't' + n, sandboxes: 1, snapshots: 1, jobs: 1, cpus: 1, memory: 1, disk: 1, files: 1, rate: 'none' });
          require('node:fs').writeSync(1, n + '\\n');
        }
      });`;
    let told = 0;
    for (const wanted of [1, 5, 20]) {
      database.exec("DELETE FROM tenants WHERE name LIKE 't%'");
      const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
      let said = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (said.split('\n').length > wanted) child.kill('SIGKILL');
      });
      await once(child, 'close');
      told = said.split('\n').length - 1;
      const names = new Set(tenants.list().map(({ name }) => name));
      expect(Array.from({ length: told }, (_, n) => `t${n}`).filter((name) => !names.has(name))).toEqual([]);
      expect(database.prepare('PRAGMA integrity_check').all()).toEqual([{ integrity_check: 'ok' }]);
    }
    expect(told).toBeGreaterThanOrEqual(20);
  });

  test('as it was at any moment opens with all that was committed: the power may go', () => {
    for (let n = 0; n < 10; n++) {
      tenants.add({ ...ACME, name: `t${n}` });
      const copy = mkdtempSync(join(folder, 'copy-'));
      for (const name of ['service.db', 'service.db-wal']) copyFileSync(join(folder, name), join(copy, name));
      const other = openDatabase(copy);
      expect(new TenantStore(other).list()).toEqual(tenants.list());
      expect(other.prepare('PRAGMA integrity_check').all()).toEqual([{ integrity_check: 'ok' }]);
      other.close();
    }
  });
});

describe('pausing', () => {
  const started = (id: string, spec: object = {}) => {
    const { record } = add(ACME, id, spec);
    sandboxes.run(id);
    return record;
  };
  const heldNow = () => held(database, 'acme');
  const MEMORY = 2 * GIB;

  test('one that is saved holds its disk and memory on the disk, and no CPUs', () => {
    const record = started('a', { cpus: 3, memory: MEMORY });
    sandboxes.pausing(record, HOST, true);
    expect(heldNow()).toEqual({ cpus: 3, memory: MEMORY, disk: GIB + MEMORY });
    sandboxes.pause('a', 'disk');
    expect(sandboxes.find('acme', 'a')).toMatchObject({ status: 'paused', keptIn: 'disk' });
    expect(heldNow()).toEqual({ cpus: 0, memory: 0, disk: GIB + MEMORY });
    // What is resumed reads its memory from there.
    sandboxes.resuming(record, HOST);
    sandboxes.resume('a');
    expect(heldNow()).toEqual({ cpus: 3, memory: MEMORY, disk: GIB + MEMORY });
    sandboxes.pausing(record, HOST, true);
    sandboxes.pause('a', 'disk');
    expect(heldNow()).toEqual({ cpus: 0, memory: 0, disk: GIB + MEMORY });
    sandboxes.end(record, { reason: 'stopped' });
    expect(heldNow()).toEqual({ cpus: 0, memory: 0, disk: 0 });
    expect(sandboxes.find('acme', 'a')).toMatchObject({ status: 'ended', paused: undefined, keptIn: undefined });
  });

  test('one that stands still holds what it held', () => {
    const record = started('a', { cpus: 3, memory: MEMORY });
    const before = heldNow();
    sandboxes.pausing(record, HOST, false);
    sandboxes.pause('a', 'memory');
    expect(sandboxes.find('acme', 'a')).toMatchObject({ status: 'paused', keptIn: 'memory' });
    expect(heldNow()).toEqual(before);
  });

  test('one that could not be saved has no memory on the disk', () => {
    const record = started('a', { memory: MEMORY });
    const before = heldNow();
    sandboxes.pausing(record, HOST, true);
    sandboxes.resume('a');
    expect([sandboxes.find('acme', 'a').status, heldNow()]).toEqual(['running', before]);
  });

  test('a memory that the share of disks does not hold is not saved', () => {
    const record = started('a', { disk: 3 * GIB, memory: MEMORY });
    expect(() => sandboxes.pausing(record, HOST, true)).toThrow(expect.objectContaining({ code: 'quota' }));
    expect(sandboxes.find('acme', 'a').status).toBe('running');
    sandboxes.pausing(record, HOST, false);
  });

  test('what was given to another meanwhile is not there for a resume', () => {
    const record = started('a', { cpus: 3 });
    sandboxes.pausing(record, HOST, true);
    sandboxes.pause('a', 'disk');
    const other = started('b', { cpus: 3 });
    expect(() => sandboxes.resuming(record, HOST)).toThrow(expect.objectContaining({ code: 'quota' }));
    expect(sandboxes.find('acme', 'a').status).toBe('paused');
    sandboxes.end(other, { reason: 'stopped' });
    add(OTHER, 'c', { cpus: 4 });
    expect(() => sandboxes.resuming(record, HOST)).toThrow(expect.objectContaining({ code: 'no-room' }));
  });

  test('each change comes from the state before it', () => {
    const record = started('a');
    expect(() => sandboxes.resuming(record, HOST)).toThrow(expect.objectContaining({ code: 'conflict' }));
    sandboxes.pausing(record, HOST, true);
    expect(() => sandboxes.pausing(record, HOST, true)).toThrow(expect.objectContaining({ code: 'not-running' }));
    sandboxes.end(record, { reason: 'stopped' });
    expect([sandboxes.pause('a', 'disk'), sandboxes.resume('a')]).toEqual([false, false]);
    expect(() => sandboxes.resuming(record, HOST)).toThrow(expect.objectContaining({ code: 'conflict' }));
  });

  test.each([
    ['saved', 'disk', 0],
    ['standing still', 'memory', 7200],
  ] as const)('time %s is charged as it is held', (_name, keptIn, seconds) => {
    const record = started('a', { cpus: 2 });
    const hourAgo = new Date(Date.now() - 3_600_000).toISOString();
    sandboxes.pausing(record, HOST, keptIn === 'disk');
    sandboxes.pause('a', keptIn);
    database.prepare("UPDATE sandboxes SET started = ?, paused = ? WHERE id = 'a'").run(hourAgo, hourAgo);
    sandboxes.end(record, { reason: 'stopped' });
    const { cpuSeconds } = database.prepare('SELECT cpuSeconds FROM usage').get() as { cpuSeconds: number };
    expect(Math.round(cpuSeconds / 100)).toBe(seconds / 100);
  });

  test('a token opens a paused sandbox, and none that has ended', () => {
    const record = started('a');
    const token = sandboxes.token('a')!;
    sandboxes.pausing(record, HOST, false);
    sandboxes.pause('a', 'memory');
    expect(sandboxes.authenticate('a', token)).toBe('acme');
    sandboxes.end(record, { reason: 'stopped' });
    expect(sandboxes.authenticate('a', token)).toBeUndefined();
  });
});
