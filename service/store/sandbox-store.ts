// The sandboxes in the database. Each change says which state it comes from, so none is made twice.
// A sandbox holds its resources from its record on: those that start count.
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { ServiceError } from '../errors.js';
import {
  type End,
  REASONS,
  type Resources,
  type SandboxRecord,
  type SandboxSpec,
  STATUSES,
  specSchema,
  type Tenant,
} from '../records.js';
import { Cursors } from './cursors.js';
import { type Database, transaction } from './database.js';
import { checkShare, shareIs } from './held.js';
import { TenantStore } from './tenant-store.js';
import { addUsage } from './usage.js';

const text = z
  .string()
  .nullable()
  .transform((value) => value ?? undefined);
const ROW = z.object({
  number: z.number(),
  id: z.string(),
  tenant: z.string(),
  spec: z.string(),
  origin: text,
  status: z.enum(STATUSES),
  created: z.string(),
  started: text,
  expires: text,
  paused: text,
  saved: z.number(),
  ended: text,
  reason: z
    .enum(REASONS)
    .nullable()
    .transform((value) => value ?? undefined),
  error: text,
});
const TOKEN = z.object({ tenant: z.string(), token: z.string() });
const COUNT = z.object({ count: z.number() });
const PAUSED_FOR = z.object({ pausedFor: z.number() });

const MAX_ENDED = 1000;
/**
 * In the column `saved`: its memory is written to the disk for the first time. Afterwards it is 1.
 */
const BEING_SAVED = 2;

/** What selects rows of a list. */
export interface Page {
  limit: number;
  /** A cursor, or the ID of a sandbox: only older ones. */
  before?: string | undefined;
  /** Default: any. */
  statuses?: readonly SandboxRecord['status'][] | undefined;
}

/** A sandbox that is to be. */
export interface NewSandbox {
  id: string;
  spec: SandboxSpec;
  /** The ID of what it continues. */
  origin?: string | undefined;
  /** The tenant's idempotency key. */
  key?: string | undefined;
}

export class SandboxStore {
  readonly #database: Database;
  readonly #cursors: Cursors;
  readonly #tenants: TenantStore;

  readonly #kept: number;

  /** @param kept the number of records that are kept of a tenant's ended sandboxes */
  constructor(database: Database, kept = MAX_ENDED) {
    this.#database = database;
    this.#cursors = new Cursors(database, 'sandboxes');
    this.#tenants = new TenantStore(database);
    this.#kept = kept;
  }

  /**
   * Adds a sandbox that starts, unless the tenant's idempotency key has one already.
   * @param host what all sandboxes together may hold
   * @throws ServiceError `quota`; `no-room`; `conflict` if the key belongs to another spec
   */
  add(tenant: Tenant, host: Resources, wanted: NewSandbox): { record: SandboxRecord; isNew: boolean } {
    return transaction(this.#database, () => this.#add(tenant, host, wanted));
  }

  /** Adds all of them, or none. @throws ServiceError as `add` */
  addAll(tenant: Tenant, host: Resources, wanted: readonly NewSandbox[]): SandboxRecord[] {
    return transaction(this.#database, () => wanted.map((each) => this.#add(tenant, host, each).record));
  }

  #add(tenant: Tenant, host: Resources, { id, spec, origin, key }: NewSandbox) {
    const described = JSON.stringify(spec);
    const known = key === undefined ? undefined : this.ofKey(tenant.name, key);
    if (known !== undefined) {
      const isSame = JSON.stringify(known.spec) === described && known.origin === origin;
      if (isSame) return { record: known, isNew: false };
      throw new ServiceError('conflict', 'the idempotency key belongs to a sandbox with another spec');
    }
    const { cpus, memory, disk } = spec;
    // One that continues another has that memory on the disk until it ends, whether or not the snapshot is there.
    const saved = origin === undefined ? 0 : 1;
    this.#checkRoom(tenant, host, { cpus, memory, disk: disk + saved * memory });
    const columns = ['id', 'tenant', 'spec', 'status', 'cpus', 'memory', 'disk', 'created', 'idempotencyKey'];
    const statement = `INSERT INTO sandboxes (${columns.join(', ')}, origin, saved)
      VALUES (?, ?, ?, 'starting', ?, ?, ?, ?, ?, ?, ?)`;
    const values = [id, tenant.name, described, cpus, memory, disk, now(), key ?? null, origin ?? null, saved];
    this.#database.prepare(statement).run(...values);
    return { record: this.find(tenant.name, id), isNew: true };
  }

  /** The tenant's sandbox. That of another does not exist. @throws ServiceError `not-found` */
  find(tenant: string, id: string): SandboxRecord {
    const [record] = this.#all('tenant = ? AND id = ?', tenant, id);
    if (record === undefined) throw new ServiceError('not-found', 'no such sandbox');
    return record;
  }

  /** The one that the tenant's idempotency key belongs to. */
  ofKey(tenant: string, key: string): SandboxRecord | undefined {
    return this.#all('tenant = ? AND idempotencyKey = ?', tenant, key)[0];
  }

  /**
   * Sandboxes of the tenant, newest first, each read when it is taken.
   * @throws ServiceError `bad-request` if `before` is no place of the list
   */
  list(tenant: string, { limit, before, statuses }: Page): Generator<SandboxRecord> {
    const place = this.#cursors.read(tenant, before);
    const wanted = '(? IS NULL OR status IN (SELECT value FROM json_each(?)))';
    const where = `tenant = ? AND number < ? AND ${wanted} ORDER BY number DESC LIMIT ?`;
    const of = statuses === undefined ? null : JSON.stringify(statuses);
    return this.#each(where, tenant, place, of, of, limit);
  }

  /** What `before` is for those behind a sandbox that is there. */
  cursor(tenant: string, id: string): string {
    return this.#cursors.behind(tenant, id);
  }

  /** All sandboxes that have not ended, oldest first. */
  alive(): SandboxRecord[] {
    return this.#all("status <> 'ended' ORDER BY number");
  }

  /** It runs from now on, for its lifetime. Returns false if it did not start. */
  run(id: string): boolean {
    const [record] = this.#all('id = ?', id);
    if (record === undefined) return false;
    const started = now();
    const expires = new Date(Date.parse(started) + record.spec.lifetime).toISOString();
    const set = "status = 'running', started = ?, expires = ? WHERE id = ? AND status = 'starting'";
    return this.#change(set, started, expires, id);
  }

  /**
   * It is about to be paused. Its disk holds its memory from now on if that is saved: what is resumed
   * still reads it.
   * @param saves false: its processors stand still, and it holds what it held
   * @throws ServiceError `not-running`; `quota`, `no-room` for its memory on the disk
   */
  pausing({ id, tenant }: SandboxRecord, host: Resources, saves: boolean): void {
    transaction(this.#database, () => {
      const [record] = this.#all("id = ? AND status = 'running'", id);
      if (record === undefined) throw new ServiceError('not-running', 'the sandbox is not running');
      const isNew = saves && this.#isUnsaved(id);
      if (isNew) this.#checkHeld(tenant, host, { cpus: 0, memory: 0, disk: record.spec.memory });
      this.#change(`status = 'pausing'${isNew ? `, saved = ${BEING_SAVED}` : ''} WHERE id = ?`, id);
    });
  }

  /** It is paused, whatever it was doing. */
  pause(id: string, keptIn: SandboxRecord['keptIn']): boolean {
    const set = "status = 'paused', saved = ?, paused = ? WHERE id = ? AND status NOT IN ('paused', 'ended')";
    return this.#change(set, keptIn === 'disk' ? 1 : 0, now(), id);
  }

  /**
   * It is about to run again, and holds its share.
   * @throws ServiceError `conflict` if it is not paused; `quota`, `no-room`
   */
  resuming({ id, tenant }: SandboxRecord, host: Resources): void {
    transaction(this.#database, () => {
      const [record] = this.#all("id = ? AND status = 'paused'", id);
      if (record === undefined) throw new ServiceError('conflict', 'the sandbox is not paused');
      const { spec, keptIn } = record;
      if (keptIn === 'disk') this.#checkHeld(tenant, host, { cpus: spec.cpus, memory: spec.memory, disk: 0 });
      const set = "status = 'resuming', paused = NULL, pausedFor = pausedFor + ? WHERE id = ?";
      this.#change(set, savedFor(record, Date.now()), id);
    });
  }

  /** It runs again, or still. @param expires Default: as before */
  resume(id: string, expires?: string): boolean {
    const set = `status = 'running', paused = NULL, saved = CASE saved WHEN ${BEING_SAVED} THEN 0 ELSE saved END,
      expires = coalesce(?, expires) WHERE id = ? AND status <> 'ended'`;
    return this.#change(set, expires ?? null, id);
  }

  /** Its lifetime is over then. Returns false if it does not run. */
  expire(id: string, expires: string): boolean {
    return this.#change("expires = ? WHERE id = ? AND status = 'running'", expires, id);
  }

  /** The token that opens a sandbox, which is made when it is first asked for. Undefined unless it runs. */
  token(id: string): string | undefined {
    const made = randomBytes(32).toString('base64url');
    this.#change("token = ? WHERE id = ? AND status = 'running' AND token IS NULL", made, id);
    return this.#opened(id)?.token;
  }

  /** The tenant of the sandbox that a token opens. It may be paused. */
  authenticate(id: string, token: string): string | undefined {
    const known = this.#opened(id);
    const isRight = timingSafeEqual(hashOf(token), hashOf(known?.token ?? ''));
    return isRight ? known?.tenant : undefined;
  }

  /**
   * The token that opens the ports of a sandbox. It follows from the sandbox's own, which does not follow
   * from it. Undefined unless it runs.
   */
  portsToken(id: string): string | undefined {
    const token = this.token(id);
    return token === undefined ? undefined : portsTokenOf(token);
  }

  /** The tenant of the sandbox whose ports a token opens. */
  authenticatePorts(id: string, token: string): string | undefined {
    const known = this.#opened(id);
    const isRight = timingSafeEqual(hashOf(token), hashOf(portsTokenOf(known?.token ?? '')));
    return isRight ? known?.tenant : undefined;
  }

  #opened(id: string): z.output<typeof TOKEN> | undefined {
    const statement = 'SELECT tenant, token FROM sandboxes WHERE id = ? AND token IS NOT NULL';
    const row = this.#database.prepare(statement).get(id);
    return row === undefined ? undefined : TOKEN.parse(row);
  }

  /**
   * Gives its resources back. The idempotency key of one that did not start is free again. Returns
   * false if it had ended already.
   */
  end({ id, tenant }: SandboxRecord, { reason, error }: End): boolean {
    return transaction(this.#database, () => {
      const [record] = this.#all("id = ? AND status <> 'ended'", id);
      const ended = now();
      if (record !== undefined) this.#charge(record, Date.parse(ended));
      const key = 'idempotencyKey = CASE WHEN started IS NULL THEN NULL ELSE idempotencyKey END';
      const set = `status = 'ended', token = NULL, paused = NULL, ended = ?, reason = ?, error = ?, ${key}
        WHERE id = ? AND status <> 'ended'`;
      const isChanged = this.#change(set, ended, reason, error ?? null, id);
      const old = `SELECT number FROM sandboxes WHERE tenant = ? AND status = 'ended'
        ORDER BY number DESC LIMIT -1 OFFSET ?`;
      this.#database.prepare(`DELETE FROM sandboxes WHERE number IN (${old})`).run(tenant, this.#kept);
      return isChanged;
    });
  }

  /** One that has not run has used nothing, and none uses CPUs while it is on the disk. */
  #charge(record: SandboxRecord, ended: number): void {
    const { id, tenant, spec, started } = record;
    if (started === undefined) return;
    const row = this.#database.prepare('SELECT pausedFor FROM sandboxes WHERE id = ?').get(id);
    const rest = PAUSED_FOR.parse(row).pausedFor + savedFor(record, ended);
    const cpuSeconds = (spec.cpus * (ended - Date.parse(started) - rest)) / 1000;
    addUsage(this.#database, tenant, { sandboxes: 1, cpuSeconds: Math.max(0, cpuSeconds) }, ended);
  }

  #checkRoom(tenant: Tenant, host: Resources, wanted: Resources): void {
    const alive = "SELECT count(*) AS count FROM sandboxes WHERE tenant = ? AND status <> 'ended'";
    const { count } = COUNT.parse(this.#database.prepare(alive).get(tenant.name));
    if (count >= tenant.sandboxes) throw shareIs(`${tenant.sandboxes} sandboxes`);
    checkShare(this.#database, tenant, host, wanted);
  }

  /** @throws ServiceError `quota`, `no-room` if there is no room for so much more */
  #checkHeld(name: string, host: Resources, wanted: Resources): void {
    const tenant = this.#tenants.find(name);
    if (tenant !== undefined) checkShare(this.#database, tenant, host, wanted);
  }

  #isUnsaved(id: string): boolean {
    return this.#database.prepare('SELECT 1 FROM sandboxes WHERE id = ? AND saved = 0').get(id) !== undefined;
  }

  #change(set: string, ...values: (string | number | null)[]): boolean {
    return Number(this.#database.prepare(`UPDATE sandboxes SET ${set}`).run(...values).changes) === 1;
  }

  #all(where: string, ...values: (string | number | null)[]): SandboxRecord[] {
    return [...this.#each(where, ...values)];
  }

  *#each(where: string, ...values: (string | number | null)[]): Generator<SandboxRecord> {
    for (const row of this.#database.prepare(`SELECT * FROM sandboxes WHERE ${where}`).iterate(...values)) {
      const { spec, saved, number: _, ...rest } = ROW.parse(row);
      const keptIn = rest.paused === undefined ? undefined : saved ? 'disk' : 'memory';
      yield { ...rest, keptIn, spec: specSchema.parse(JSON.parse(spec)) };
    }
  }
}

function portsTokenOf(token: string): string {
  return createHmac('sha256', token).update('ports').digest('base64url');
}

/** Milliseconds that it has been on the disk now. */
function savedFor({ paused, keptIn }: SandboxRecord, until: number): number {
  return paused === undefined || keptIn !== 'disk' ? 0 : Math.max(0, until - Date.parse(paused));
}

/** Of one length, whatever is compared. */
function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

function now(): string {
  return new Date().toISOString();
}
