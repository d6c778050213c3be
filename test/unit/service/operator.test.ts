// What the operator of a real server sees of its tenants: the queue and why each job waits, shares,
// and what was used. No key of a tenant opens it.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { jobSpecSchema } from '../../../service/job.js';
import { openDatabase } from '../../../service/store/database.js';
import { JobStore } from '../../../service/store/job-store.js';
import { TenantStore } from '../../../service/store/tenant-store.js';
import { HOST, OwnService, send } from '../../fixtures/service.js';

const service = new OwnService();
const tenants = ['acme', 'beta', 'gamma'];
const keys = new Map(tenants.map((name) => [name, service.tenant(name, { cpus: 8 })]));
service.tenant('ops', { jobs: 0, sandboxes: 0 });
const operator = service.key('ops', 'operator');
let url: string;

interface Seen {
  id: string;
  tenant: string;
  status: string;
  waits?: string;
  created: string;
}
interface Body {
  jobs: Seen[];
  tenants: { name: string; jobs: Record<string, number> }[];
  periods: { jobs: number }[];
  next?: string;
}

beforeAll(async () => {
  url = await service.start();
});

afterAll(async () => {
  await service[Symbol.asyncDispose]();
  expect(service.faults).toEqual([]);
});

const see = async (path: string, key = operator) => {
  const { status, body } = await send(`${url}/v1/operator/${path}`, { key });
  return { status, body: body as Body };
};
const read = async (path: string) => (await see(path)).body;

test('jobs of all tenants are listed, each with its tenant and without what may be secret', async () => {
  const spec = {
    ...{ image: 'nothing', env: { TOKEN: 'very secret' }, callback: 'http://192.0.2.1/?token=very-secret' },
    metadata: { name: 'a\u202eb' },
  };
  const ids: string[] = [];
  for (const name of [...tenants, 'acme']) {
    const answer = await send(`${url}/v1/jobs`, { method: 'POST', key: keys.get(name)!, body: spec });
    ids.unshift((answer.body as Seen).id);
  }
  while ((await read('jobs?status=alive')).jobs.length > 0) await sleep(50);
  const { jobs, next } = await read('jobs');
  expect(next).toBe(undefined);
  expect(jobs.map(({ id, tenant }) => [id, tenant])).toEqual([
    [ids[0], 'acme'],
    [ids[1], 'gamma'],
    [ids[2], 'beta'],
    [ids[3], 'acme'],
  ]);
  expect(jobs[0]).toMatchObject({ status: 'ended', reason: 'not-started', metadata: { name: 'a\u202eb' } });
  expect(await read(`jobs/${ids[1]}`)).toEqual(jobs[1]);
  const events = await fetch(`${url}/v1/operator/jobs/${ids[1]}/events`, {
    headers: { Authorization: `Bearer ${operator}` },
  });
  const text = await events.text();
  expect(JSON.parse(/event: end\ndata: (.*)\n/.exec(text)?.[1] ?? '')).toEqual(jobs[1]);
  expect(JSON.stringify(jobs) + text).not.toMatch(/secret|boot|placed/);

  // Pages, of all and of one tenant.
  const first = await read('jobs?limit=3');
  expect(first.jobs.map(({ id }) => id)).toEqual(ids.slice(0, 3));
  expect((await read(`jobs?limit=3&before=${first.next}`)).jobs.map(({ id }) => id)).toEqual([ids[3]]);
  const own = await read('jobs?tenant=acme&limit=1&status=ended');
  expect(own.jobs.map(({ id }) => id)).toEqual([ids[0]]);
  expect((await read(`jobs?tenant=acme&before=${own.next}`)).jobs.map(({ id }) => id)).toEqual([ids[3]]);
  // The job of another is no place in the list of one.
  expect(await see(`jobs?tenant=beta&before=${ids[0]}`)).toMatchObject({ status: 400, body: { code: 'bad-request' } });
  for (const path of ['jobs?tenant=nobody', 'jobs?status=running']) expect(await read(path)).toEqual({ jobs: [] });
});

test('tenants are listed by name, with shares and what was used', async () => {
  const first = await read('tenants?limit=3');
  expect([first.tenants.map(({ name }) => name), first.next]).toEqual([tenants, 'gamma']);
  const rest = await read(`tenants?after=${first.next}`);
  expect(rest.next).toBe(undefined);
  expect(rest.tenants).toEqual([
    {
      name: 'ops',
      limits: { ...HOST, sandboxes: 0, snapshots: 4, jobs: 0, files: 2 ** 30, rate: 'none' },
      held: { cpus: 0, memory: 0, disk: 0 },
      sandboxes: { starting: 0, running: 0, pausing: 0, paused: 0, resuming: 0 },
      snapshots: 0,
      jobs: { queued: 0, starting: 0, running: 0 },
    },
  ]);
  expect(await read('tenants/ops')).toEqual(rest.tenants[0]);
  const jobsOf = async (path: string) => (await read(path)).periods.map(({ jobs }) => jobs);
  const found = [await jobsOf('tenants/acme/usage'), await jobsOf('tenants/beta/usage'), await jobsOf('usage')];
  expect(found.map((each) => each.reduce((sum, jobs) => sum + jobs, 0))).toEqual([2, 1, 4]);
});

test('what there is not is not found, and no key of a tenant opens anything', async () => {
  for (const path of ['jobs/job-0', 'jobs/job-0/events', 'tenants/nobody', 'tenants/nobody/usage']) {
    expect(await see(path)).toMatchObject({ status: 404, body: { code: 'not-found' } });
  }
  const paths = ['jobs', 'jobs/job-0', 'jobs/job-0/events', 'tenants', 'tenants/acme', 'tenants/acme/usage', 'usage'];
  for (const path of paths) {
    expect(await see(path, keys.get('acme'))).toMatchObject({ status: 403, body: { code: 'forbidden' } });
  }
  // And the operator's opens no job of others by the paths of tenants.
  const [{ id } = { id: '' }] = (await read('jobs')).jobs;
  expect((await send(`${url}/v1/jobs/${id}`, { key: operator })).status).toBe(404);
});

test('a queued job waits for its share, for room, or for its turn', () => {
  const other = new OwnService();
  using _folder = { [Symbol.dispose]: () => void other[Symbol.asyncDispose]() };
  const database = openDatabase(other.folder);
  using _database = { [Symbol.dispose]: () => database.close() };
  const store = new JobStore(database);
  const names = new TenantStore(database);
  const host = { cpus: 4, memory: 2 ** 33, disk: 2 ** 40 };
  const share = {
    sandboxes: 1,
    snapshots: 1,
    jobs: 9,
    memory: 2 ** 33,
    disk: 2 ** 40,
    files: 0,
    rate: 'none',
  } as const;
  let last = 0;
  const add = (name: string, cpus: number, priority = 0) => {
    const id = `job-${++last}`;
    const spec = jobSpecSchema.parse({ image: 'a', cpus, priority, memory: 2 ** 28 });
    store.add(names.find(name)!, host, { id, spec });
    return id;
  };
  names.add({ ...share, name: 'small', cpus: 1 });
  names.add({ ...share, name: 'large', cpus: 4 });
  names.add({ ...share, name: 'late', cpus: 4 });
  const first = add('small', 1);
  expect(store.waits(host)).toEqual(new Map());
  expect(store.place(host, 'boot')?.id).toBe(first);
  const second = add('small', 1);
  add('small', 1);
  // Its tenant holds one CPU of one, and the host has room.
  expect(store.waits(host)).toEqual(new Map([[second, 'share']]));
  // The host has three CPUs of four. A job that fits once others end is overtaken by none.
  const big = add('large', 4);
  const late = add('late', 1);
  const urgent = add('large', 3.5, 1);
  expect(store.place(host, 'boot')).toBe(undefined);
  expect(store.waits(host)).toEqual(new Map([[urgent, 'room']]));
  // No CPU is left of the tenant's own share, and the turn is its own.
  for (const id of [big, urgent]) store.cancel('large', id);
  expect(store.place(host, 'boot')?.id).toBe(late);
  expect(store.waits(host)).toEqual(new Map([[second, 'share']]));
});
