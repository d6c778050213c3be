// The files of the runs of jobs, without machines: what cannot be read or found is no empty file.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Container } from '../../../sandbox/index.js';
import { type JobRecord, jobSpecSchema } from '../../../service/job.js';
import { ContainerMachines } from '../../../service/jobs/machines.js';
import { type Database, openDatabase } from '../../../service/store/database.js';
import { FileStore } from '../../../service/store/file-store.js';
import { SecretStore } from '../../../service/store/secret-store.js';
import { TenantStore } from '../../../service/store/tenant-store.js';

let folder: string;
let files: FileStore;
let database: Database;
let secrets: SecretStore;
let machines: ContainerMachines;
const faults: string[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-machines-'));
  files = new FileStore(folder);
  database = openDatabase(folder);
  const limits = { sandboxes: 1, snapshots: 1, jobs: 1, cpus: 1, memory: 1, disk: 1, files: 1, rate: 'none' };
  new TenantStore(database).add({ name: 'acme', ...limits });
  secrets = new SecretStore(database, folder);
  const host = { cpus: 1, memory: 1, disk: 1 };
  const onFault = (message: string) => faults.push(message);
  machines = new ContainerMachines('boot', files, secrets, {
    folder,
    host,
    accel: 'auto',
    jail: 'auto',
    onFault,
    onFallback() {},
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  database.close();
  rmSync(folder, { recursive: true });
  faults.splice(0);
});

const jobOf = (spec: object): JobRecord => ({
  ...{ id: 'job-0000000000000000', tenant: 'acme', status: 'starting', attempts: 1, created: '' },
  spec: jobSpecSchema.parse({ image: 'debian:12', ...spec }),
});

test('a job whose files cannot be read does not start without them', async () => {
  const job = jobOf({ files: `sha256:${'0'.repeat(64)}` });
  const path = files.path(job.tenant, job.id, 'files');
  mkdirSync(dirname(path), { recursive: true });
  // It opens, and cannot be read.
  mkdirSync(path);
  const start = vi.fn();
  // To a guest, an archive that breaks off is at its end.
  const extract = (_directory: string, archive: Readable) => finished(archive.resume()).catch(() => {});
  vi.spyOn(Container, 'create').mockResolvedValue({ files: { extract }, start } as unknown as Container);
  await expect(machines.start(job)).rejects.toMatchObject({ code: 'internal' });
  expect(start).not.toHaveBeenCalled();
  expect(faults).toEqual([expect.stringContaining('EISDIR')]);
});

test('each run gets the values of its time, beside its record, and one that lacks a secret does not start', async () => {
  const start = vi.fn();
  const create = vi.spyOn(Container, 'create').mockResolvedValue({ start } as unknown as Container);
  const job = jobOf({
    secrets: [
      { name: 'TOKEN', env: 'API_TOKEN' },
      { name: 'TOKEN', file: '/run/secrets/token' },
    ],
  });
  const missing = { code: 'no-secret', message: 'the tenant has no secret TOKEN' };
  await expect(machines.start(job)).rejects.toMatchObject(missing);
  expect(create).not.toHaveBeenCalled();
  for (const value of ['first value', 'second value']) {
    secrets.set('acme', 'TOKEN', value);
    await machines.start(job);
    const joined = { env: { API_TOKEN: value }, files: { token: value }, placeholders: [] };
    const audit = { file: resolve(folder, 'audit.log'), about: { tenant: 'acme', job: job.id } };
    expect(start).toHaveBeenLastCalledWith(expect.objectContaining({ secrets: { ...joined, audit } }));
  }
  expect(JSON.stringify(create.mock.calls)).not.toContain('value');
  secrets.remove('acme', 'TOKEN');
  await expect(machines.start(job)).rejects.toMatchObject(missing);
  expect(faults).toEqual([]);
});

test('a job of which no container is left has left no files', async () => {
  const collected = machines.collect(jobOf({ outputs: '/out' }), new PassThrough(), new AbortController().signal);
  await expect(collected).rejects.toMatchObject({ code: 'no-file' });
});
