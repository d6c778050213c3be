// A copy of a data folder, while a server uses it: the database, and the files of jobs, both of one
// moment. Machines, their disks and images are no part of it.
import { chmodSync, closeSync, linkSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { backup, DatabaseSync } from '@photostructure/sqlite';
import { create } from 'tar';
import { hasCode } from '../../errors/index.js';
import { checkDataFolder, DATABASE, holdFolder, openDatabase } from './database.js';
import { PART, UPLOADS } from './file-store.js';
import { sync } from './sync.js';

/** In the data folder, so that files can have a second name in it. */
const WORK = 'backup';
const FILES = 'files';
const HOMES = 'tenants';
/** Milliseconds until another process's transaction has ended. */
const PATIENCE = 10_000;

/**
 * Writes a tar archive, which is there whole or not at all.
 * @param path of the archive. What is there is replaced.
 * @throws ServiceError `bad-request` if the folder is no data folder, `conflict` if another one is
 *   written, `internal`; errors of the file system
 */
export async function writeBackup(folder: string, path: string): Promise<void> {
  // An empty state would look like a copy.
  checkDataFolder(folder);
  using _lock = holdFolder(folder, 'backup.db');
  const work = join(folder, WORK);
  // What one that was killed has left.
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { mode: 0o700 });
  const part = `${path}.part`;
  try {
    await copyState(folder, work);
    // Of each tenant's home there is the place alone.
    for (const { name } of list(join(folder, HOMES)))
      mkdirSync(join(work, HOMES, name), { recursive: true, mode: 0o700 });
    // A file that is there may be another's, to whom it would be readable.
    rmSync(part, { force: true });
    closeSync(openSync(part, 'wx', 0o600));
    await create({ cwd: work, file: part }, ['.']);
    sync(part);
    renameSync(part, path);
    sync(dirname(path));
  } finally {
    rmSync(part, { force: true });
    rmSync(work, { recursive: true, force: true });
  }
}

/** The database as it is while nobody writes to it, and the files that it knows then. */
async function copyState(folder: string, to: string): Promise<void> {
  using source = openDatabase(folder);
  {
    // Who writes waits until the files have second names. The reader's transaction begins meanwhile, so
    // what it reads is of this moment, however long the copy takes.
    using writer = new DatabaseSync(join(folder, DATABASE), { timeout: PATIENCE });
    writer.exec('BEGIN IMMEDIATE');
    source.exec('BEGIN');
    source.prepare('SELECT count(*) FROM tenants').get();
    for (const { name } of list(join(folder, FILES))) linkJobs(join(folder, FILES, name), join(to, FILES, name));
    writer.exec('ROLLBACK');
  }
  const copy = join(to, DATABASE);
  await backup(source, copy);
  chmodSync(copy, 0o600);
  using database = new DatabaseSync(copy);
  // The next server finds no machine of these runs, and they may have begun.
  database.exec("UPDATE jobs SET status = 'running', started = placed WHERE status = 'starting'");
  // Their files are in the homes.
  database.exec('DELETE FROM snapshots');
  database.exec('PRAGMA journal_mode = DELETE');
}

/** Gives the files of a tenant's jobs second names. Uploads that no job has are left out. */
function linkJobs(from: string, to: string): void {
  for (const { name: job } of list(from)) {
    if (job === UPLOADS) continue;
    mkdirSync(join(to, job), { recursive: true, mode: 0o700 });
    for (const { name } of list(join(from, job))) {
      if (!name.endsWith(PART)) linkIfThere(join(from, job, name), join(to, job, name));
    }
  }
}

/** A server removes a file after its record: the database knows one that is gone no more. */
function linkIfThere(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}

/** @returns nothing if there is no such folder: no job has had files */
function list(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}
