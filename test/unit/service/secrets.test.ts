// Secrets of tenants: what is set is told to none, and lies encrypted beside its key.
import { chmodSync, copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { jobRequestSchema } from '../../../service/job.js';
import { checkPlaceholders } from '../../../service/secret.js';
import { type Database, openDatabase } from '../../../service/store/database.js';
import { SecretStore } from '../../../service/store/secret-store.js';
import { TenantStore } from '../../../service/store/tenant-store.js';
import { OwnService, send } from '../../fixtures/service.js';

const LIMITS = { sandboxes: 1, snapshots: 1, jobs: 1, cpus: 1, memory: 1, disk: 1, files: 1, rate: 'none' };
const VALUE = 'a value that nobody else has: \u{1f511}';

let folder: string;
let database: Database;
let secrets: SecretStore;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-secrets-'));
  database = openDatabase(folder);
  const tenants = new TenantStore(database);
  for (const name of ['acme', 'other']) tenants.add({ name, ...LIMITS });
  secrets = new SecretStore(database, folder);
});

afterEach(() => {
  database.close();
  rmSync(folder, { recursive: true });
});

const read = (tenant: string, name: string) => secrets.join(tenant, [{ name, env: 'X' }]).env.X;
/** All bytes of the folder's files. */
const bytesOf = () => Buffer.concat(readdirSync(folder).map((name) => readFileSync(join(folder, name))));

describe('a secret', () => {
  test('is found by its tenant alone, and is in no file as it is', () => {
    secrets.set('acme', 'TOKEN', VALUE);
    expect(read('acme', 'TOKEN')).toBe(VALUE);
    expect(() => read('other', 'TOKEN')).toThrow('the tenant has no secret TOKEN');
    expect(secrets.list('other')).toEqual([]);
    for (const encoding of ['utf8', 'base64', 'hex'] as const) {
      expect(bytesOf().includes(Buffer.from(VALUE).toString(encoding))).toBe(false);
    }
    expect(bytesOf().includes('TOKEN')).toBe(true);
  });

  test('has a newer value, another nonce and the time of its creation once it is set again', () => {
    const stored = () => database.prepare('SELECT hex(value) AS value FROM secrets').get()?.value;
    const first = secrets.set('acme', 'TOKEN', VALUE);
    const before = stored();
    const second = secrets.set('acme', 'TOKEN', VALUE);
    expect(stored()).not.toBe(before);
    expect(second.created).toBe(first.created);
    secrets.set('acme', 'TOKEN', 'newer');
    expect(read('acme', 'TOKEN')).toBe('newer');
    expect(secrets.list('acme')).toEqual([{ name: 'TOKEN', created: first.created, updated: expect.any(String) }]);
    secrets.remove('acme', 'TOKEN');
    expect(() => secrets.remove('acme', 'TOKEN')).toThrow(expect.objectContaining({ code: 'not-found' }));
  });

  test.each([
    ["another tenant's", "UPDATE secrets SET tenant = 'other'", 'other', 'TOKEN'],
    ['another name', "UPDATE secrets SET name = 'NAME'", 'acme', 'NAME'],
    [
      'changed',
      "UPDATE secrets SET value = CAST(substr(value, 1, 30) || x'00' || substr(value, 32) AS BLOB)",
      'acme',
      'TOKEN',
    ],
    ['cut short', 'UPDATE secrets SET value = substr(value, 1, 20)', 'acme', 'TOKEN'],
    ['nothing', "UPDATE secrets SET value = x''", 'acme', 'TOKEN'],
  ])('that a writer of the database has made %s is not read', (_what, change, tenant, name) => {
    secrets.set('acme', 'TOKEN', VALUE);
    database.exec(change);
    expect(() => read(tenant, name)).toThrow(
      expect.objectContaining({ code: 'no-secret', message: `the secret ${name} cannot be read: set it again` }),
    );
  });

  test('without its key is not read until it is set again', () => {
    secrets.set('acme', 'TOKEN', VALUE);
    rmSync(join(folder, 'secrets.key'));
    expect(() => read('acme', 'TOKEN')).toThrow(expect.objectContaining({ code: 'no-secret' }));
    expect(secrets.list('acme')).toHaveLength(1);
    secrets.set('acme', 'OTHER', VALUE);
    expect(() => read('acme', 'TOKEN')).toThrow(expect.objectContaining({ code: 'no-secret' }));
    expect(read('acme', 'OTHER')).toBe(VALUE);
  });

  test('goes with its tenant', () => {
    secrets.set('acme', 'TOKEN', VALUE);
    new TenantStore(database).remove('acme');
    expect(database.prepare('SELECT count(*) AS count FROM secrets').get()).toEqual({ count: 0 });
    expect(() => secrets.set('acme', 'TOKEN', VALUE)).toThrow(expect.objectContaining({ code: 'not-found' }));
  });

  test('is one of 100 at most, and has 64 KiB at most', () => {
    for (let n = 0; n < 100; n++) secrets.set('acme', `S${n}`, 'x');
    expect(() => secrets.set('acme', 'S100', 'x')).toThrow(expect.objectContaining({ code: 'quota' }));
    secrets.set('acme', 'S99', 'é'.repeat(32_768));
    expect(read('acme', 'S99')).toHaveLength(32_768);
    secrets.set('other', 'S100', 'x');
    for (const value of ['', 'a\0b', 'x'.repeat(65_537), 'é'.repeat(32_769)]) {
      expect(() => secrets.set('acme', 'S1', value)).toThrow(expect.objectContaining({ code: 'bad-request' }));
    }
    for (const name of ['', '1x', '../x', 'a b', 'x'.repeat(65)]) {
      expect(() => secrets.set('acme', name, 'x')).toThrow(expect.objectContaining({ code: 'bad-request' }));
    }
  });
});

describe('a placeholder', () => {
  const placeholder = { hosts: ['api.example.com'], headers: ['Authorization'], http: false };

  test('is a token in the place of the value, another one each time', () => {
    secrets.set('acme', 'TOKEN', 'the value');
    const uses = [
      { name: 'TOKEN', env: 'A', placeholder },
      { name: 'TOKEN', file: '/run/secrets/b', placeholder },
      { name: 'TOKEN', env: 'C' },
    ];
    const [{ env, files, placeholders }, again] = [secrets.join('acme', uses), secrets.join('acme', uses)];
    expect(env).toEqual({ A: expect.stringMatching(/^tsvm-[0-9a-f]{48}$/), C: 'the value' });
    const all = [env.A, files.b, again.env.A, again.files.b];
    expect(new Set(all).size).toBe(4);
    expect(placeholders).toEqual([env.A, files.b].map((token) => ({ token, value: 'the value', ...placeholder })));
  });

  test('is none of a value that no header may have', () => {
    secrets.set('acme', 'TOKEN', 'a value\n');
    expect(() => secrets.join('acme', [{ name: 'TOKEN', env: 'A', placeholder }])).toThrow(
      expect.objectContaining({ code: 'no-secret', message: expect.not.stringContaining('a value') }),
    );
  });

  test('needs hosts by their names, and a network', () => {
    const parse = (hosts: string[]) =>
      jobRequestSchema.safeParse({ image: 'x', secrets: [{ name: 'A', env: 'A', placeholder: { hosts } }] });
    expect(parse(['api.example.com']).data?.secrets).toEqual([
      { name: 'A', env: 'A', placeholder: { ...placeholder, headers: ['Authorization', 'X-Api-Key'] } },
    ]);
    for (const hosts of [[], ['localhost'], ['10.0.0.1'], ['*.example.com'], ['a.b:443'], ['A.b']]) {
      expect(parse(hosts).success).toBe(false);
    }
    const uses = [{ name: 'A', env: 'A', placeholder }];
    expect(() => checkPlaceholders({ secrets: uses, network: 'none' })).toThrow('need the network public');
    checkPlaceholders({ secrets: uses, network: 'public' });
    checkPlaceholders({ secrets: [{ name: 'A', env: 'A' }], network: 'none' });
  });
});

describe('the key', () => {
  test('is for its owner alone, and one that others may read is not used', () => {
    secrets.set('acme', 'TOKEN', VALUE);
    const path = join(folder, 'secrets.key');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder).filter((name) => name.startsWith('secrets.key'))).toEqual(['secrets.key']);
    chmodSync(path, 0o640);
    expect(() => read('acme', 'TOKEN')).toThrow('needs the mode 0600');
    expect(() => secrets.set('acme', 'TOKEN', 'x')).toThrow('needs the mode 0600');
  });

  test('that is not used is told to the administrator, and its path to no tenant', async () => {
    await using service = new OwnService();
    const key = service.tenant('acme');
    const url = await service.start();
    const set = () => send(`${url}/v1/secrets/TOKEN`, { method: 'PUT', key, body: { value: VALUE } });
    expect((await set()).status).toBe(200);
    chmodSync(join(service.folder, 'secrets.key'), 0o640);
    expect(await set()).toMatchObject({ status: 500, body: { code: 'internal', detail: 'internal error' } });
    expect(service.faults).toEqual([expect.stringContaining('secrets.key needs the mode 0600')]);
  });

  test('is one, whoever asks first', async () => {
    const others = Array.from({ length: 4 }, () => new SecretStore(database, folder));
    await Promise.all(others.map(async (store, n) => store.set('acme', `S${n}`, VALUE)));
    for (const n of others.keys()) expect(read('acme', `S${n}`)).toBe(VALUE);
  });

  test('is not in the database: a copy of that alone reads nothing', () => {
    secrets.set('acme', 'TOKEN', VALUE);
    database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    const copy = mkdtempSync(join(tmpdir(), 'tsvm-secrets-copy-'));
    copyFileSync(join(folder, 'service.db'), join(copy, 'service.db'));
    const copied = openDatabase(copy);
    try {
      const key = readFileSync(join(folder, 'secrets.key'));
      expect(readFileSync(join(copy, 'service.db')).includes(key)).toBe(false);
      const use = [{ name: 'TOKEN', env: 'X' }];
      expect(() => new SecretStore(copied, copy).join('acme', use)).toThrow('cannot be read: set it again');
    } finally {
      copied.close();
      rmSync(copy, { recursive: true });
    }
  });
});

test.each([
  [{ name: 'T', env: 'A=B' }],
  [{ name: 'T', env: '' }],
  [{ name: 'T', file: '/etc/passwd' }],
  [{ name: 'T', file: '/run/secrets/..' }],
  [{ name: 'T', file: '/run/secrets/a/b' }],
  [{ name: 'T', file: '/run/secrets/' }],
  [{ name: 'T' }],
  [{ name: 'T', env: 'A', file: '/run/secrets/a' }],
  [{ name: 'a b', env: 'A' }],
])('a job cannot have the secret %j', (use) => {
  expect(jobRequestSchema.safeParse({ image: 'a', secrets: [use] }).success).toBe(false);
});

test('a job has 16 secrets at most, each at a place of its own', () => {
  const of = (count: number) => Array.from({ length: count }, (_, n) => ({ name: 'T', env: `A${n}` }));
  const isValid = (list: object[]) => jobRequestSchema.safeParse({ image: 'a', secrets: list }).success;
  expect([isValid(of(16)), isValid(of(17)), isValid([...of(1), ...of(1)])]).toEqual([true, false, false]);
});

describe('over HTTP', () => {
  test('a secret is set, listed without its value, and removed, by its tenant alone', async () => {
    await using service = new OwnService();
    const [key, other] = [service.tenant('acme'), service.tenant('other')];
    const url = `${await service.start()}/v1/secrets`;
    const put = (name: string, body: unknown, as = key) => send(`${url}/${name}`, { method: 'PUT', key: as, body });
    const times = { created: expect.any(String), updated: expect.any(String) };
    const set = await put('TOKEN', { value: VALUE });
    expect([set.status, set.body]).toEqual([200, { name: 'TOKEN', ...times }]);
    expect((await send(url, { key })).body).toEqual({ secrets: [{ name: 'TOKEN', ...times }] });
    expect((await send(url, { key: other })).body).toEqual({ secrets: [] });
    for (const path of [url, `${url}/TOKEN`]) expect((await send(path)).status).not.toBe(200);
    expect((await send(`${url}/TOKEN`, { key })).status).toBe(404);
    expect((await send(`${url}/TOKEN`, { method: 'DELETE', key: other })).status).toBe(404);
    const wrong = [
      { value: `${VALUE}\0` },
      { value: [VALUE] },
      { value: VALUE, more: 1 },
      { [VALUE]: 1 },
      { value: `${VALUE}${'x'.repeat(65_536)}` },
      `{"value": "${VALUE}"`,
    ];
    for (const body of wrong) {
      const answer = await put('TOKEN', body);
      expect(answer.status).toBe(400);
      if (typeof body === 'string' || 'value' in body) expect(JSON.stringify(answer.body)).not.toContain(VALUE);
    }
    expect((await put('..%2Fx', { value: 'x' })).status).toBe(400);
    expect((await send(`${url}/TOKEN`, { method: 'DELETE', key })).status).toBe(204);
    expect((await send(url, { key })).body).toEqual({ secrets: [] });
    await service.stop();
    const audit = readFileSync(join(service.folder, 'audit.log'), 'utf8');
    expect([audit.includes('/v1/secrets/TOKEN'), audit.includes(VALUE)]).toEqual([true, false]);
    expect(service.faults).toEqual([]);
  });
});
