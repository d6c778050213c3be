// The database of a service: SQLite, one file. What a call has written is on the disk when it
// returns.
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite';
import { hasCode, messageOf } from '../../errors/index.js';
import { ServiceError } from '../errors.js';

export type Database = DatabaseSyncInstance;

/**
 * How a database of each version becomes one of the next. Its header has the number of those that were
 * applied.
 */
export const MIGRATIONS = [
  `
  CREATE TABLE tenants (
    name TEXT PRIMARY KEY, sandboxes INTEGER NOT NULL, cpus REAL NOT NULL, memory INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE keys (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
    hash BLOB NOT NULL, created TEXT NOT NULL
  ) STRICT;
  CREATE TABLE sandboxes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL REFERENCES tenants (name), spec TEXT NOT NULL, status TEXT NOT NULL,
    cpus REAL NOT NULL, memory INTEGER NOT NULL,
    created TEXT NOT NULL, started TEXT, ended TEXT, reason TEXT, error TEXT, idempotencyKey TEXT,
    UNIQUE (tenant, idempotencyKey)
  ) STRICT;
  CREATE INDEX sandboxes_by_tenant ON sandboxes (tenant, number);
  CREATE INDEX sandboxes_alive ON sandboxes (tenant) WHERE status <> 'ended';`,
  `
  ALTER TABLE tenants ADD COLUMN jobs INTEGER NOT NULL DEFAULT 1000;
  ALTER TABLE tenants ADD COLUMN charged REAL NOT NULL DEFAULT 0;
  CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL REFERENCES tenants (name), spec TEXT NOT NULL, status TEXT NOT NULL,
    priority INTEGER NOT NULL, cpus REAL NOT NULL, memory INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, boot TEXT, "order" TEXT, deadline TEXT,
    created TEXT NOT NULL, placed TEXT, started TEXT, ended TEXT,
    reason TEXT, exitCode INTEGER, oomKilled INTEGER, error TEXT, truncated INTEGER, idempotencyKey TEXT,
    UNIQUE (tenant, idempotencyKey)
  ) STRICT;
  CREATE INDEX jobs_by_tenant ON jobs (tenant, number);
  CREATE INDEX jobs_queued ON jobs (tenant, priority DESC, number) WHERE status = 'queued';
  CREATE INDEX jobs_alive ON jobs (tenant) WHERE status <> 'ended';
  CREATE INDEX jobs_due ON jobs (deadline) WHERE status <> 'ended' AND "order" IS NULL;
  CREATE TABLE outputs (
    job INTEGER PRIMARY KEY REFERENCES jobs (number) ON DELETE CASCADE, lines TEXT NOT NULL
  ) STRICT;
  CREATE VIEW held (kind, tenant, cpus, memory) AS
    SELECT 'sandboxes', tenant, cpus, memory FROM sandboxes WHERE status <> 'ended' UNION ALL
    SELECT 'jobs', tenant, cpus, memory FROM jobs WHERE status IN ('starting', 'running');`,
  `
  ALTER TABLE tenants ADD COLUMN files INTEGER NOT NULL DEFAULT 4294967296;
  ALTER TABLE jobs ADD COLUMN stored INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE jobs ADD COLUMN outputs INTEGER;
  ALTER TABLE jobs ADD COLUMN outputsError TEXT;
  CREATE INDEX jobs_stored ON jobs (tenant, number) WHERE stored > 0;`,
  `
  ALTER TABLE outputs ADD COLUMN "offset" INTEGER NOT NULL DEFAULT 0;`,
  `
  ALTER TABLE tenants ADD COLUMN rate TEXT NOT NULL DEFAULT '100/s';`,
  `
  ALTER TABLE tenants ADD COLUMN disk INTEGER NOT NULL DEFAULT 53687091200;
  ALTER TABLE sandboxes ADD COLUMN disk INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE jobs ADD COLUMN disk INTEGER NOT NULL DEFAULT 0;
  UPDATE sandboxes SET disk = json_extract(spec, '$.disk');
  UPDATE jobs SET disk = json_extract(spec, '$.disk');
  DROP VIEW held;
  CREATE VIEW held (kind, tenant, cpus, memory, disk) AS
    SELECT 'sandboxes', tenant, cpus, memory, disk FROM sandboxes WHERE status <> 'ended' UNION ALL
    SELECT 'jobs', tenant, cpus, memory, disk FROM jobs WHERE status IN ('starting', 'running');`,
  `
  ALTER TABLE tenants ADD COLUMN secret TEXT;
  ALTER TABLE jobs ADD COLUMN callbackDue INTEGER;
  ALTER TABLE jobs ADD COLUMN callbackTries INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX jobs_callbacks ON jobs (callbackDue) WHERE callbackDue IS NOT NULL;`,
  `
  ALTER TABLE sandboxes ADD COLUMN expires TEXT;
  ALTER TABLE sandboxes ADD COLUMN token TEXT;`,
  `
  CREATE TABLE secrets (
    tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE, name TEXT NOT NULL,
    value BLOB NOT NULL, created TEXT NOT NULL, updated TEXT NOT NULL, PRIMARY KEY (tenant, name)
  ) STRICT;`,
  `
  ALTER TABLE keys ADD COLUMN scope TEXT NOT NULL DEFAULT 'admin';`,
  `
  CREATE TABLE usage (
    tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE, hour TEXT NOT NULL,
    jobs INTEGER NOT NULL, succeeded INTEGER NOT NULL, sandboxes INTEGER NOT NULL, cpuSeconds REAL NOT NULL,
    PRIMARY KEY (tenant, hour)
  ) STRICT, WITHOUT ROWID;`,
  `
  ALTER TABLE sandboxes ADD COLUMN saved INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE sandboxes ADD COLUMN paused TEXT;
  ALTER TABLE sandboxes ADD COLUMN pausedFor INTEGER NOT NULL DEFAULT 0;
  DROP VIEW held;
  CREATE VIEW held (kind, tenant, cpus, memory, disk) AS
    SELECT 'sandboxes', tenant,
      CASE WHEN status = 'paused' AND saved THEN 0 ELSE cpus END,
      CASE WHEN status = 'paused' AND saved THEN 0 ELSE memory END,
      CASE WHEN saved THEN disk + memory ELSE disk END
      FROM sandboxes WHERE status <> 'ended' UNION ALL
    SELECT 'jobs', tenant, cpus, memory, disk FROM jobs WHERE status IN ('starting', 'running');`,
  `
  ALTER TABLE tenants ADD COLUMN snapshots INTEGER NOT NULL DEFAULT 10;
  ALTER TABLE sandboxes ADD COLUMN origin TEXT;
  CREATE TABLE snapshots (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE, sandbox TEXT NOT NULL,
    spec TEXT NOT NULL, status TEXT NOT NULL, disk INTEGER NOT NULL, created TEXT NOT NULL
  ) STRICT;
  CREATE INDEX snapshots_by_tenant ON snapshots (tenant, number);
  DROP VIEW held;
  CREATE VIEW held (kind, tenant, cpus, memory, disk) AS
    SELECT 'sandboxes', tenant,
      CASE WHEN status = 'paused' AND saved THEN 0 ELSE cpus END,
      CASE WHEN status = 'paused' AND saved THEN 0 ELSE memory END,
      CASE WHEN saved THEN disk + memory ELSE disk END
      FROM sandboxes WHERE status <> 'ended' UNION ALL
    SELECT 'snapshots', tenant, 0, 0, disk FROM snapshots UNION ALL
    SELECT 'jobs', tenant, cpus, memory, disk FROM jobs WHERE status IN ('starting', 'running');`,
  // Each look at what is held or queued would read all jobs, and the pages of their specs, which
  // may be long.
  `
  DROP INDEX jobs_alive;
  CREATE INDEX jobs_alive ON jobs (tenant, status) WHERE status <> 'ended';
  CREATE INDEX jobs_placed ON jobs (tenant) WHERE status IN ('starting', 'running');`,
  // What all tenants have used, by hours: there are as many rows of `usage` as tenants times hours.
  `
  CREATE TABLE usageOfAll (
    hour TEXT PRIMARY KEY,
    jobs INTEGER NOT NULL, succeeded INTEGER NOT NULL, sandboxes INTEGER NOT NULL, cpuSeconds REAL NOT NULL
  ) STRICT, WITHOUT ROWID;
  INSERT INTO usageOfAll SELECT hour, sum(jobs), sum(succeeded), sum(sandboxes), total(cpuSeconds)
    FROM usage GROUP BY hour;`,
  // A spec has up to a million bytes, and SQLite reads through it to reach the columns behind it: to
  // look at the states of a tenant's 1000 jobs read a gigabyte. So the spec is the last column.
  ['jobs', 'sandboxes', 'snapshots']
    .map(
      (table) => `
  ALTER TABLE ${table} ADD COLUMN last TEXT NOT NULL DEFAULT '';
  UPDATE ${table} SET last = spec;
  ALTER TABLE ${table} DROP COLUMN spec;
  ALTER TABLE ${table} RENAME COLUMN last TO spec;`,
    )
    .join(''),
  // To know which tenants wait, each submission and each end of a job counted the whole queue.
  `
  CREATE INDEX jobs_waiting ON jobs (tenant, number) WHERE status = 'queued';`,
  `
  CREATE TABLE cursorKey (key BLOB NOT NULL) STRICT;
  INSERT INTO cursorKey VALUES (randomblob(16));`,
];

/** Milliseconds to wait for another process's transaction. */
const PATIENCE = 10_000;

/** The name of the file. */
export const DATABASE = 'service.db';

/** @throws ServiceError `bad-request` if the folder has no database */
export function checkDataFolder(folder: string): void {
  if (existsSync(join(folder, DATABASE))) return;
  throw new ServiceError('bad-request', `${folder} is no data folder of a service`);
}

/**
 * Opens the database in the folder, and makes what is missing.
 * @param isHeld true: this process holds the folder, as `holdFolder` does
 * @throws ServiceError `internal`; `conflict` if the database is of an older version, and a server uses it
 */
export function openDatabase(folder: string, { isHeld = false } = {}): Database {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const path = join(folder, DATABASE);
    makePrivate(path);
    const database = new DatabaseSync(path, { timeout: PATIENCE });
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;');
    transaction(database, () => makeTables(database, isHeld ? undefined : folder));
    return database;
  } catch (cause) {
    if (cause instanceof ServiceError) throw cause;
    throw new ServiceError('internal', `cannot open the database in ${folder}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * Makes the file for its owner alone: it has what signs callbacks and opens sandboxes, and the folder
 * may be one that others enter. SQLite gives its log the same mode.
 */
function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  }
}

/** @param folder what no server may use meanwhile */
function makeTables(database: Database, folder?: string): void {
  const version = Number(Object.values(database.prepare('PRAGMA user_version').get() ?? {})[0]);
  const newest = MIGRATIONS.length;
  if (version > newest) throw new Error(`its schema is ${version}, and this tsvm knows ${newest}`);
  // The statements of a server that runs are those of the tables that it knows.
  using _lock = folder !== undefined && version > 0 && version < newest ? holdFolder(folder) : undefined;
  for (const migration of MIGRATIONS.slice(version)) database.exec(migration);
  database.exec(`PRAGMA user_version = ${newest}`);
}

/** Runs `act` in a transaction, which an error undoes. */
export function transaction<T>(database: Database, act: () => T): T {
  database.exec('BEGIN IMMEDIATE');
  try {
    const result = act();
    database.exec('COMMIT');
    return result;
  } catch (error) {
    // A full disk has undone it already.
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

/** What one process at a time does with a folder: the name of its lock, and of the command. */
const HOLDERS = { 'lock.db': 'tsvm serve', 'backup.db': 'tsvm backup' } as const;

/**
 * Holds the folder for this process until its end, however it ends.
 * @throws ServiceError `conflict` if another process does
 */
export function holdFolder(folder: string, name: keyof typeof HOLDERS = 'lock.db'): Disposable {
  const lock = new DatabaseSync(join(folder, name), { timeout: 0 });
  try {
    lock.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    lock.close();
    throw new ServiceError('conflict', `another ${HOLDERS[name]} uses ${folder}`, { cause });
  }
  return { [Symbol.dispose]: () => lock.close() };
}
