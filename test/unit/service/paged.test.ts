// Lists of a real server: their pages together are all records, each once and in order, and no page
// is larger than its bound, however large the records are.
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { MAX_PAGE, pageOf } from '../../../service/http/paged.js';
import { jobSpecSchema } from '../../../service/job.js';
import { specSchema, type Tenant } from '../../../service/records.js';
import { type Database, openDatabase } from '../../../service/store/database.js';
import { JobStore } from '../../../service/store/job-store.js';
import { SandboxStore } from '../../../service/store/sandbox-store.js';
import { SnapshotStore } from '../../../service/store/snapshot-store.js';
import { TenantStore } from '../../../service/store/tenant-store.js';
import { fuzzing } from '../../fixtures/fuzz.js';
import { HOST, OwnService, send } from '../../fixtures/service.js';

const service = new OwnService();
const key = service.tenant('acme', { sandboxes: 100, snapshots: 100, jobs: 100 });
const operator = service.key('acme', 'operator');
let url: string;
let database: Database;
let acme: Tenant;

beforeAll(async () => {
  url = await service.start();
  database = openDatabase(service.folder, { isHeld: true });
  // What it writes need not last.
  database.exec('PRAGMA synchronous = OFF');
  acme = new TenantStore(database).find('acme')!;
});

afterAll(async () => {
  database.close();
  await service[Symbol.asyncDispose]();
  expect(service.faults).toEqual([]);
});

beforeEach(() => empty());

function empty(): void {
  for (const table of ['jobs', 'snapshots', 'sandboxes']) database.exec(`DELETE FROM ${table}`);
}

/** Words of so many bytes. */
function words(bytes: number): Record<string, string> {
  const parts = Array.from({ length: Math.ceil(bytes / 30_000) }, (_, n) => [`n${n}`, 'x'.repeat(30_000)]);
  return Object.fromEntries(parts);
}

/** Adds a record of each kind with so many bytes, which the server leaves as it is. */
const ADD = {
  jobs: (id: string, bytes: number) => {
    const jobs = new JobStore(database);
    jobs.add(acme, HOST, { id, spec: jobSpecSchema.parse({ image: 'a', metadata: words(bytes) }) });
    jobs.cancel('acme', id);
  },
  sandboxes: (id: string, bytes: number) => {
    const sandboxes = new SandboxStore(database);
    const spec = specSchema.parse({ image: 'a', memory: 2 ** 26, cpus: 0.01, metadata: words(bytes) });
    const { record } = sandboxes.add(acme, HOST, { id, spec });
    sandboxes.end(record, { reason: 'stopped' });
  },
  snapshots: (id: string, bytes: number) => {
    const spec = specSchema.parse({ image: 'a', metadata: words(bytes) });
    const of = { id: 'sb-1', tenant: 'acme', spec, status: 'running', created: '' } as const;
    const snapshots = new SnapshotStore(database);
    snapshots.add(acme, { ...HOST, disk: 2 ** 50 }, { id, of, status: 'making' });
    snapshots.ready(id);
  },
};

interface Pages {
  ids: string[];
  /** Bytes and records of each page. */
  sizes: { bytes: number; records: number }[];
}

/** Follows a list to its end. @param between is told what a page had, before the next one is read */
async function pagesOf(
  kind: keyof typeof ADD,
  path: string,
  limit: number,
  who = key,
  between: (ids: string[]) => unknown = () => {},
): Promise<Pages> {
  const pages: Pages = { ids: [], sizes: [] };
  for (let before = ''; ; ) {
    const { status, body } = await send(`${url}${path}?limit=${limit}${before}`, { key: who });
    expect(status).toBe(200);
    const { next, ...rest } = body as { next?: string };
    const records = (rest as Record<string, { id: string }[]>)[kind] ?? [];
    pages.ids.push(...records.map(({ id }) => id));
    pages.sizes.push({ bytes: Buffer.byteLength(JSON.stringify(body)), records: records.length });
    if (next === undefined) return pages;
    before = `&before=${next}`;
    await between(records.map(({ id }) => id));
  }
}

/** A page is full by number or by bytes. */
function expectBound({ sizes }: Pages, limit: number): void {
  const FRAME = 200;
  for (const { bytes, records } of sizes) {
    expect(records).toBeLessThanOrEqual(limit);
    if (records > 1) expect(bytes).toBeLessThanOrEqual(MAX_PAGE + FRAME);
  }
}

test.each([
  ['jobs', '/v1/jobs', key],
  ['jobs', '/v1/operator/jobs', operator],
  ['sandboxes', '/v1/sandboxes', key],
  ['snapshots', '/v1/snapshots', key],
] as const)('large %s of %s come in several pages, the largest one alone', async (kind, path, who) => {
  const sizes = [900_000, 10, 500_000, 500_000, 500_000, 10, 10, 960_000];
  const ids = sizes.map((bytes, n) => {
    ADD[kind](`id-${n}`, bytes);
    return `id-${n}`;
  });
  const pages = await pagesOf(kind, path, 100, who);
  expect(pages.ids).toEqual(ids.reverse());
  expect(pages.sizes.map(({ records }) => records)).toEqual([3, 2, 2, 1]);
  expectBound(pages, 100);
});

test.each([
  ['jobs', '/v1/jobs', key],
  ['jobs', '/v1/operator/jobs', operator],
  ['sandboxes', '/v1/sandboxes', key],
  ['snapshots', '/v1/snapshots', key],
] as const)('who removes %s of %s while it lists them misses none', async (kind, path, who) => {
  const ids = Array.from({ length: 7 }, (_, n) => `id-${n}`);
  for (const id of ids) ADD[kind](id, 10);
  const remove = database.prepare(`DELETE FROM ${kind} WHERE id = ?`);
  const pages = await pagesOf(kind, path, 2, who, (listed) => {
    for (const id of listed) remove.run(id);
  });
  expect(pages.ids).toEqual(ids.reverse());
});

test("a cursor is no place in another list, nor in another tenant's, and does not tell how many there are", async () => {
  const other = service.tenant('other', { jobs: 100 });
  for (const id of ['id-1', 'id-2', 'id-3']) {
    ADD.jobs(id, 10);
    ADD.sandboxes(id, 10);
  }
  const list = (path: string, who: string) => send(`${url}${path}`, { key: who });
  const { next } = (await list('/v1/jobs?limit=1', key)).body as { next: string };
  expect(next).toMatch(/^next-[\w-]{22}$/);
  const { next: older } = (await list(`/v1/jobs?limit=1&before=${next}`, key)).body as { next: string };
  // Nothing of it is the same in both.
  const same = [...next.slice(5)].filter((character, at) => character === older[at + 5]);
  expect(same.length).toBeLessThan(11);
  const changed = `${next.slice(0, -2)}${next.at(-2) === 'A' ? 'B' : 'A'}${next.at(-1)}`;
  for (const [path, who] of [
    [`/v1/sandboxes?before=${next}`, key],
    [`/v1/operator/jobs?before=${next}`, operator],
    [`/v1/jobs?before=${next}`, other],
    [`/v1/jobs?before=${changed}`, key],
    ['/v1/jobs?before=id-4', key],
    ['/v1/jobs?before=id-1', other],
  ] as const) {
    expect(await list(path, who)).toMatchObject({
      status: 400,
      body: { code: 'bad-request', detail: 'there is no such place in the list any more: list from the newest one' },
    });
  }
});

test("E2B's lists have pages of the same bound, by what is read for them", async () => {
  const sandboxes = new SandboxStore(database);
  for (let n = 0; n < 6; n++) {
    ADD.snapshots(`sn-${n}`, 500_000);
    const spec = specSchema.parse({ image: 'a', memory: 2 ** 26, cpus: 0.01, env: words(500_000) });
    sandboxes.add(acme, HOST, { id: `sb-${n}`, spec });
    sandboxes.run(`sb-${n}`);
  }
  for (const [path, name] of [
    ['/v2/sandboxes', 'sandboxID'],
    ['/snapshots', 'snapshotID'],
  ] as const) {
    const counts: number[] = [];
    for (let token = ''; ; ) {
      const answer = await send(`${url}${path}?limit=100${token}`, { headers: { 'X-API-Key': key } });
      counts.push((answer.body as Record<string, unknown>[]).filter((each) => typeof each[name] === 'string').length);
      const next = answer.headers.get('X-Next-Token');
      if (next === null) break;
      token = `&nextToken=${next}`;
    }
    expect(counts).toEqual([2, 2, 2]);
  }
});

test('all pages together are all jobs, each once and newest first, whatever their sizes', async () => {
  const size = fc.oneof(fc.nat(1000), fc.nat(960_000));
  await fc.assert(
    fc.asyncProperty(fc.array(size, { maxLength: 12 }), fc.integer({ min: 1, max: 8 }), async (sizes, limit) => {
      empty();
      for (const [n, bytes] of sizes.entries()) ADD.jobs(`job-${n}`, bytes);
      const pages = await pagesOf('jobs', '/v1/jobs', limit);
      expect(pages.ids).toEqual(sizes.map((_, n) => `job-${n}`).reverse());
      expectBound(pages, limit);
    }),
    fuzzing(10),
  );
});

test('pages are as full as their bounds allow, and no more is read than one record behind each', () => {
  const sizes = fc.array(fc.oneof(fc.nat(1000), fc.nat(MAX_PAGE + 100_000)), { maxLength: 15 });
  fc.assert(
    fc.property(sizes, fc.integer({ min: 1, max: 10 }), (bytes, limit) => {
      // As JSON each has so many bytes, and a few more.
      const records = bytes.map((count, n) => ({ id: `${n}`, toJSON: () => 'x'.repeat(count) }));
      const cost = (record: object) => JSON.stringify(record).length;
      const found: string[] = [];
      for (let begin = 0; ; ) {
        let read = 0;
        const list = function* (most: number) {
          for (const record of records.slice(begin, begin + most)) {
            read++;
            yield record;
          }
        };
        const { page, next } = pageOf(limit, list, ({ id }) => id);
        found.push(...page.map(({ id }) => id));
        begin += page.length;
        const isMore = begin < records.length;
        expect([next, read]).toEqual(isMore ? [found.at(-1), page.length + 1] : [undefined, page.length]);
        const taken = page.reduce((sum, record) => sum + cost(record), 0);
        if (page.length > 1) expect(taken).toBeLessThanOrEqual(MAX_PAGE);
        if (!isMore) break;
        const isFull = page.length === limit || taken + cost(records[begin]!) > MAX_PAGE;
        expect([isFull, page.length > 0]).toEqual([true, true]);
      }
      expect(found).toEqual(records.map(({ id }) => id));
    }),
    fuzzing(50),
  );
});
