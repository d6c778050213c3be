// The archive of a backup: for its owner alone, whatever lies in its place, and of a data folder alone.
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Tenants, writeBackup } from '../../../service/index.js';
import { specSchema } from '../../../service/records.js';
import { openDatabase } from '../../../service/store/database.js';
import { SandboxStore } from '../../../service/store/sandbox-store.js';
import { SnapshotStore } from '../../../service/store/snapshot-store.js';
import { HOST } from '../../fixtures/service.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-backup-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

const modeOf = (...path: string[]) => statSync(join(folder, ...path)).mode & 0o777;

test('the archive and the database in it are for their owner alone', async () => {
  const data = join(folder, 'data');
  using tenants = new Tenants(data);
  const key = tenants.add({ name: 'acme', sandboxes: 1, snapshots: 1, jobs: 1, files: 1, rate: 'none', ...HOST });
  expect(modeOf('data', 'service.db')).toBe(0o600);
  // Its files are in the home, which is not copied.
  using database = openDatabase(data);
  const [tenant] = tenants.list();
  const spec = specSchema.parse({ image: 'debian:12' });
  const { record } = new SandboxStore(database).add(tenant!, HOST, { id: 'sb-1', spec });
  const snapshots = new SnapshotStore(database);
  snapshots.add(tenant!, HOST, { id: 'sn-1', of: record, status: 'making' });
  snapshots.ready('sn-1');
  const file = join(folder, 'copy.tar');
  // What another user has put there.
  writeFileSync(`${file}.part`, 'x');
  chmodSync(`${file}.part`, 0o666);
  await writeBackup(data, file);
  expect(modeOf('copy.tar')).toBe(0o600);
  expect(existsSync(`${file}.part`)).toBe(false);
  expect(key).toMatch(/^tsvm_/);
  expect(readFileSync(file).includes(key)).toBe(false);
  const copy = mkdtempSync(join(folder, 'restored-'));
  execFileSync('tar', ['-x', '-f', file, '-C', copy]);
  expect(statSync(join(copy, 'service.db')).mode & 0o777).toBe(0o600);
  using restored = new Tenants(copy);
  expect(restored.list().map(({ name }) => name)).toEqual(['acme']);
  using copied = openDatabase(copy);
  expect([[...snapshots.ids()], [...new SnapshotStore(copied).ids()]]).toEqual([['sn-1'], []]);
});

test.each(['nothing', '.'])('a folder %s without a database is not copied, and gets none', async (name) => {
  const data = join(folder, name);
  await expect(writeBackup(data, join(folder, 'copy.tar'))).rejects.toThrow('is no data folder of a service');
  for (const made of ['nothing', 'service.db', 'copy.tar', 'backup.db'])
    expect(existsSync(join(folder, made))).toBe(false);
});
