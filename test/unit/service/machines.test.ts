// The files of the runs of jobs, without machines: what cannot be read or found is no empty file.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Container } from '../../../sandbox/index.js';
import { type JobRecord, jobSpecSchema } from '../../../service/job.js';
import { ContainerMachines } from '../../../service/jobs/machines.js';
import { FileStore } from '../../../service/store/file-store.js';

let folder: string;
let files: FileStore;
let machines: ContainerMachines;
const faults: string[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-machines-'));
  files = new FileStore(folder);
  const host = { cpus: 1, memory: 1, disk: 1 };
  const onFault = (message: string) => faults.push(message);
  machines = new ContainerMachines('boot', files, {
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

test('a job of which no container is left has left no files', async () => {
  const collected = machines.collect(jobOf({ outputs: '/out' }), new PassThrough(), new AbortController().signal);
  await expect(collected).rejects.toMatchObject({ code: 'no-file' });
});
