// The snapshots of sandboxes in the database. One holds its part of the disk from its record on, until
// its files are gone.
import { z } from 'zod';
import { ServiceError } from '../errors.js';
import { type Resources, type SandboxRecord, type SnapshotRecord, specSchema, type Tenant } from '../records.js';
import { Cursors } from './cursors.js';
import { type Database, transaction } from './database.js';
import { checkShare, shareIs } from './held.js';

/**
 * - `making`: its files are being written.
 * - `forking`: it is there for the sandboxes of a fork alone.
 * - `ready`: it is whole.
 * - `removing`: its files are about to go.
 */
type Status = 'making' | 'forking' | 'ready' | 'removing';

const ROW = z.object({
  ...{ id: z.string(), tenant: z.string(), sandbox: z.string(), created: z.string() },
  spec: z.string().transform((text) => specSchema.parse(JSON.parse(text))),
});
const COUNT = z.object({ count: z.number() });
/** Those that a tenant has asked for. */
const OWN = "tenant = ? AND status <> 'forking'";

/** What selects rows of a list. */
export interface SnapshotPage {
  limit: number;
  /** A cursor, or the ID of a snapshot: only older ones. */
  before?: string | undefined;
  /** The ID of a sandbox: only those of it. */
  sandbox?: string | undefined;
}

export class SnapshotStore {
  readonly #database: Database;
  readonly #cursors: Cursors;

  constructor(database: Database) {
    this.#database = database;
    this.#cursors = new Cursors(database, 'snapshots');
  }

  /**
   * Adds one that is about to be written. Its files are as large as the sandbox's disk and memory, were
   * they full.
   * @throws ServiceError `quota`, `no-room`
   */
  add(
    tenant: Tenant,
    host: Resources,
    { id, of: { id: sandbox, spec }, status }: { id: string; of: SandboxRecord; status: 'making' | 'forking' },
  ): void {
    transaction(this.#database, () => {
      const isOver = status === 'making' && this.count(tenant.name) >= tenant.snapshots;
      if (isOver) throw shareIs(`${tenant.snapshots} snapshots`);
      const disk = spec.disk + spec.memory;
      checkShare(this.#database, tenant, host, { cpus: 0, memory: 0, disk });
      const statement = `INSERT INTO snapshots (id, tenant, sandbox, spec, status, disk, created)
        VALUES (?, ?, ?, ?, ?, ?, ?)`;
      const [text, created] = [JSON.stringify(spec), new Date().toISOString()];
      this.#database.prepare(statement).run(id, tenant.name, sandbox, text, status, disk, created);
    });
  }

  /** It is whole. */
  ready(id: string): void {
    this.#change('ready', id, ['making']);
  }

  /** The tenant's snapshot, if it is whole. That of another does not exist. @throws ServiceError `not-found` */
  find(tenant: string, id: string): SnapshotRecord {
    const [record] = this.#all("tenant = ? AND id = ? AND status = 'ready'", tenant, id);
    if (record === undefined) throw noSnapshot();
    return record;
  }

  /**
   * Snapshots of the tenant that are whole, newest first, each read when it is taken.
   * @throws ServiceError `bad-request` if `before` is no place of the list
   */
  list(tenant: string, { limit, before, sandbox }: SnapshotPage): Generator<SnapshotRecord> {
    const place = this.#cursors.read(tenant, before);
    const of = sandbox ?? null;
    const where = `tenant = ? AND status = 'ready' AND number < ? AND (? IS NULL OR sandbox = ?)
      ORDER BY number DESC LIMIT ?`;
    return this.#each(where, tenant, place, of, of, limit);
  }

  /** What `before` is for those behind a snapshot that is there. */
  cursor(tenant: string, id: string): string {
    return this.#cursors.behind(tenant, id);
  }

  /** How many a tenant has, with those that are being written or removed. */
  count(tenant: string): number {
    const statement = `SELECT count(*) AS count FROM snapshots WHERE ${OWN}`;
    return COUNT.parse(this.#database.prepare(statement).get(tenant)).count;
  }

  /**
   * It is about to be removed. No sandbox begins from it any more.
   * @throws ServiceError `not-found`, also while it is being written
   */
  removing(tenant: string, id: string): void {
    const [record] = this.#all("tenant = ? AND id = ? AND status IN ('ready', 'removing')", tenant, id);
    if (record === undefined) throw noSnapshot();
    this.#change('removing', id, ['ready']);
  }

  /** Its files are gone. */
  remove(id: string): void {
    this.#database.prepare('DELETE FROM snapshots WHERE id = ?').run(id);
  }

  /** Those of all tenants that are not whole. While no server runs, nobody writes or removes them. */
  unfinished(): SnapshotRecord[] {
    return this.#all("status <> 'ready' ORDER BY number");
  }

  /** The IDs of all. */
  ids(): Set<string> {
    return new Set(this.#all('true').map(({ id }) => id));
  }

  #change(status: Status, id: string, from: readonly Status[]): void {
    const statement = `UPDATE snapshots SET status = ? WHERE id = ? AND status IN (${from.map(() => '?').join(', ')})`;
    this.#database.prepare(statement).run(status, id, ...from);
  }

  #all(where: string, ...values: (string | number | null)[]): SnapshotRecord[] {
    return [...this.#each(where, ...values)];
  }

  *#each(where: string, ...values: (string | number | null)[]): Generator<SnapshotRecord> {
    for (const row of this.#database.prepare(`SELECT * FROM snapshots WHERE ${where}`).iterate(...values)) {
      yield ROW.parse(row);
    }
  }
}

function noSnapshot(): ServiceError {
  return new ServiceError('not-found', 'no such snapshot');
}
