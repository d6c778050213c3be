// The jobs in the database: the queue, and what became of each. A change says which state it comes
// from, so none is made twice.
//
// Tenants take turns by the CPU-seconds that they have had: who had the least is next. A tenant that
// comes back begins where the one with the least is: time without jobs is neither saved nor owed.
import { StringDecoder } from 'node:string_decoder';
import { z } from 'zod';
import { ServiceError } from '../errors.js';
import {
  isFollowed,
  JOB_ORDERS,
  JOB_REASONS,
  JOB_STATUSES,
  type JobEnd,
  type JobOrder,
  type JobOutput,
  type JobReason,
  type JobRecord,
  type JobSpec,
  type JobWait,
  jobSpecSchema,
  type OutputLine,
  type Outputs,
} from '../job.js';
import type { Resources, Tenant } from '../records.js';
import { Cursors } from './cursors.js';
import { type Database, transaction } from './database.js';
import type { Keeping } from './file-store.js';
import { checkFits, held, lacking } from './held.js';
import { TENANT } from './tenant-store.js';
import { addUsage } from './usage.js';

const flag = z.number().transform((value) => value === 1);
const orAbsent = <T extends z.ZodType>(schema: T) => schema.nullable().transform((value) => value ?? undefined);
const ROW = z.object({
  id: z.string(),
  tenant: z.string(),
  spec: z.string(),
  status: z.enum(JOB_STATUSES),
  attempts: z.number(),
  created: z.string(),
  placed: orAbsent(z.string()),
  started: orAbsent(z.string()),
  ended: orAbsent(z.string()),
  order: orAbsent(z.enum(JOB_ORDERS)),
  reason: orAbsent(z.enum(JOB_REASONS)),
  exitCode: orAbsent(z.number()),
  oomKilled: orAbsent(flag),
  truncated: orAbsent(flag),
  error: orAbsent(z.string()),
  outputs: orAbsent(z.number()),
  outputsError: orAbsent(z.string()),
  boot: orAbsent(z.string()),
});
const OUTPUT = z.object({ lines: z.string() });
/** SQLite's part of no bytes is NULL. */
const OUTPUT_PART = z.object({ part: z.instanceof(Uint8Array).nullable(), offset: z.number() });
/** Bytes of an output that are read at a time. */
const PART = 65_536;

/** Its words are those of an index. Alone, with an order by number, all jobs would be read. */
const PLACED = "number IN (SELECT number FROM jobs WHERE status IN ('starting', 'running'))";

const MAX_ENDED = 1000;
/** Jobs that expire at a time. */
const MAX_EXPIRED = 10;
/** Tries of a callback, over 15 hours, and milliseconds between two. */
const MAX_CALLBACK_TRIES = 24;
const MAX_CALLBACK_PAUSE = 3_600_000;
/** Milliseconds that a run counts at least: starting a machine is work too. */
const LEAST = 1000;
/** The output of a job that never began. */
const NOTHING: JobOutput = { lines: '', truncated: false, offset: 0 };

/** What selects rows of a list. */
export interface JobPage {
  limit: number;
  /** A cursor, or the ID of a job: only older ones. */
  before?: string | undefined;
  /** `alive`: it has not ended. */
  status?: JobRecord['status'] | 'alive' | undefined;
}

/** The next job of a tenant. */
interface Turn {
  id: string;
  /** Why it is not placed. Undefined: it is. */
  lacks?: 'share' | 'room' | undefined;
  /** No job of another tenant overtakes it. */
  isHeld: boolean;
}

/** Which run of which job. */
export type Run = Pick<JobRecord, 'id' | 'attempts'>;

export interface NewJob {
  id: string;
  spec: JobSpec;
  key?: string | undefined;
  /**
   * Keeps what the job reads, and returns its bytes. Called if the job is new, before it has a record.
   * Its argument is the bytes that are left of the tenant's share.
   */
  keep?: ((left: number) => number) | undefined;
}

export interface JobStoreOptions {
  /** The number of records that are kept of a tenant's jobs that have ended. */
  kept?: number;
  /** Milliseconds since the epoch. */
  clock?: () => number;
  /** Called when a job has ended. */
  onEnd?: ((tenant: string, reason: JobReason) => void) | undefined;
}

export class JobStore {
  readonly #database: Database;
  readonly #cursors: Cursors;
  readonly #kept: number;
  readonly #clock: () => number;
  readonly #onEnd: JobStoreOptions['onEnd'];
  /** The tenants of jobs, by ID, whose files may be too many since the last look. */
  #touched = new Map<string, string>();

  constructor(database: Database, { kept = MAX_ENDED, clock = Date.now, onEnd }: JobStoreOptions = {}) {
    this.#database = database;
    this.#cursors = new Cursors(database, 'jobs');
    this.#kept = kept;
    this.#clock = clock;
    this.#onEnd = onEnd;
  }

  /**
   * Queues a job, unless the tenant's idempotency key has one already.
   * @param host what all jobs and sandboxes together may hold
   * @throws ServiceError `quota` if the tenant's queue is full, or its share or the host never holds
   *   the job; `conflict` if the key belongs to another spec; the error of `keep`
   */
  add(tenant: Tenant, host: Resources, { key, ...job }: NewJob): JobRecord {
    return transaction(this.#database, () => {
      const [known] = key === undefined ? [] : this.#all('tenant = ? AND idempotencyKey = ?', tenant.name, key);
      if (known === undefined) return this.#insert(tenant, host, { ...job, key });
      if (JSON.stringify(known.spec) === JSON.stringify(job.spec)) return known;
      throw new ServiceError('conflict', 'the idempotency key belongs to a job with another spec');
    });
  }

  /**
   * Queues all of the jobs or none, unless the tenant's idempotency key has them already: then these
   * are returned, without those that have been removed. Batches have keys of their own.
   * @throws ServiceError as `add`
   */
  addAll(tenant: Tenant, host: Resources, jobs: readonly Omit<NewJob, 'key'>[], key?: string): JobRecord[] {
    // No header has a line feed, so no key of a single job is one of these.
    const keyOf = (index: number) => `${key}\n${jobs.length}\n${index}`;
    return transaction(this.#database, () => {
      const range = 'tenant = ? AND idempotencyKey > ? AND idempotencyKey < ? ORDER BY number';
      const known = key === undefined ? [] : this.#all(range, tenant.name, `${key}\n`, `${key}\v`);
      if (known.length === 0) {
        return jobs.map((job, index) =>
          told(`jobs.${index}`, () =>
            this.#insert(tenant, host, { ...job, key: key === undefined ? undefined : keyOf(index) }),
          ),
        );
      }
      const specs = new Map(jobs.map(({ spec }, index) => [keyOf(index), JSON.stringify(spec)]));
      const statement = this.#database.prepare('SELECT idempotencyKey AS key FROM jobs WHERE id = ?');
      for (const { id, spec } of known) {
        if (specs.get(KEY.parse(statement.get(id)).key) === JSON.stringify(spec)) continue;
        throw new ServiceError('conflict', 'the idempotency key belongs to a batch of other jobs');
      }
      return known;
    });
  }

  #insert(tenant: Tenant, host: Resources, { id, spec, key, keep = () => 0 }: NewJob): JobRecord {
    checkFits(tenant, host, spec);
    const count = this.#count("tenant = ? AND status <> 'ended'", tenant.name);
    if (count >= tenant.jobs) throw new ServiceError('quota', `the tenant's share is ${tenant.jobs} jobs`);
    if (count === 0) this.#join(tenant.name);
    const statement = `INSERT INTO jobs
        (id, tenant, spec, status, priority, cpus, memory, disk, created, deadline, idempotencyKey, stored)
        VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?)`;
    const deadline = spec.deadline === undefined ? null : this.#time(spec.deadline);
    const { priority, cpus, memory, disk } = spec;
    const stored = keep(tenant.files - this.stored(tenant.name));
    this.#database
      .prepare(statement)
      .run(
        id,
        tenant.name,
        JSON.stringify(spec),
        priority,
        cpus,
        memory,
        disk,
        this.#time(),
        deadline,
        key ?? null,
        stored,
      );
    return this.find(tenant.name, id);
  }

  /** The tenant's job. That of another does not exist. @throws ServiceError `not-found` */
  find(tenant: string, id: string): JobRecord {
    const [record] = this.#all('tenant = ? AND id = ?', tenant, id);
    if (record === undefined) throw new ServiceError('not-found', 'no such job');
    return record;
  }

  /** The job of whichever tenant. @throws ServiceError `not-found` */
  findAny(id: string): JobRecord {
    const [record] = this.#all('id = ?', id);
    if (record === undefined) throw new ServiceError('not-found', 'no such job');
    return record;
  }

  /**
   * Jobs of the tenant, newest first, each read when it is taken. Undefined: of all tenants.
   * @throws ServiceError `bad-request` if `before` is no place of the list
   */
  list(tenant: string | undefined, { limit, before, status }: JobPage): Generator<JobRecord> {
    const [whose, names] = tenant === undefined ? ['', []] : ['tenant = ? AND ', [tenant]];
    const place = this.#cursors.read(tenant, before);
    const [rows, values] = selecting(status, whose, names);
    const where = `${whose}${rows} AND number < ? ORDER BY number DESC LIMIT ?`;
    return this.#each(where, ...names, ...values, place, limit);
  }

  /** What `before` is for those behind a job that is there. */
  cursor(tenant: string | undefined, id: string): string {
    return this.#cursors.behind(tenant, id);
  }

  /**
   * Why jobs wait that are queued, by their IDs. Of one that is not named, others have the turn.
   */
  waits(host: Resources): Map<string, JobWait> {
    const waits = new Map<string, JobWait>();
    for (const { id, lacks, isHeld } of this.#turns(host)) {
      if (lacks !== undefined) waits.set(id, lacks);
      if (isHeld) break;
    }
    return waits;
  }

  /** All jobs that hold resources, oldest first. */
  placed(): JobRecord[] {
    return this.#all(`${PLACED} ORDER BY number`);
  }

  /** Those that run and are to end. */
  ordered(): JobRecord[] {
    return this.#all(`${PLACED} AND "order" IS NOT NULL AND status = 'running' ORDER BY number`);
  }

  /** The lines of output of a job that has ended. */
  output(id: string): string {
    const row = this.#database.prepare('SELECT lines FROM outputs JOIN jobs ON job = number WHERE id = ?').get(id);
    return row === undefined ? '' : OUTPUT.parse(row).lines;
  }

  /** As `output`, a line at a time, with a part of them in memory. @throws ServiceError `not-found` if the job is removed */
  *outputLines(id: string): Generator<OutputLine> {
    const statement = this.#database.prepare(`SELECT substr(CAST(lines AS BLOB), ?, ?) AS part, "offset"
      FROM outputs JOIN jobs ON job = number WHERE id = ?`);
    const decoder = new StringDecoder('utf8');
    let rest = '';
    let start: number | undefined;
    for (let read = 0; ; ) {
      const row = statement.get(read + 1, PART, id);
      if (row === undefined) throw new ServiceError('not-found', 'no such job');
      const { part, offset } = OUTPUT_PART.parse(row);
      if (part === null || part.length === 0) return;
      read += part.length;
      const lines = (rest + decoder.write(Buffer.from(part))).split('\n');
      rest = lines.pop() ?? '';
      for (const text of lines) {
        const line = `${text}\n`;
        start ??= offset;
        const end = start + Buffer.byteLength(line);
        yield { line, start, end };
        start = end;
      }
    }
  }

  /**
   * Takes the next job from the queue, which holds its resources from then on. A job that fits the
   * host once others have ended is overtaken by none, so a large one is not put off for ever. One
   * that sandboxes leave no room for, or its tenant's share, lets others pass.
   * @param boot the boot of the host
   */
  place(host: Resources, boot: string): JobRecord | undefined {
    return transaction(this.#database, () => {
      for (const { id, lacks, isHeld } of this.#turns(host)) {
        if (lacks === undefined) {
          const set = `status = 'starting', placed = ?, boot = ?, attempts = attempts + 1 WHERE id = ?`;
          this.#change(set, this.#time(), boot, id);
          return this.findAny(id);
        }
        if (isHeld) return undefined;
      }
      return undefined;
    });
  }

  /** The next job of each tenant, in the order of their turns. One that is about to expire has none. */
  *#turns(host: Resources): Generator<Turn> {
    const first = this.#database.prepare(`SELECT id, cpus, memory, disk FROM jobs
      WHERE tenant = ? AND status = 'queued' AND (deadline IS NULL OR deadline > ?)
      ORDER BY priority DESC, number LIMIT 1`);
    const now = this.#time();
    for (const tenant of this.#waiting()) {
      const row = first.get(tenant.name, now);
      if (row === undefined) continue;
      const { id, ...wanted } = WANTED.parse(row);
      if (!fits(wanted, tenant, held(this.#database, tenant.name))) yield { id, lacks: 'share', isHeld: false };
      else if (fits(wanted, host, held(this.#database))) yield { id, isHeld: true };
      else yield { id, lacks: 'room', isHeld: fits(wanted, host, held(this.#database, undefined, 'jobs')) };
    }
  }

  /** The program of this run runs from now on. Returns false if it was not starting. */
  run({ id, attempts }: Run): boolean {
    const set = "status = 'running', started = ? WHERE id = ? AND attempts = ? AND status = 'starting'";
    return this.#change(set, this.#time(), id, attempts);
  }

  /**
   * Back to the queue: this run has not begun, and does not count. Returns false if it was not
   * starting, or is to end.
   */
  unplace({ id, attempts }: Run): boolean {
    const set = `status = 'queued', attempts = attempts - 1, placed = NULL, boot = NULL
      WHERE id = ? AND attempts = ? AND status = 'starting' AND "order" IS NULL`;
    return this.#change(set, id, attempts);
  }

  /**
   * This run has ended. The job is queued again if it may run again; it ends otherwise, with the output.
   * What was ordered counts more than how the program exited.
   * @returns false if that is known
   */
  end({ id, attempts }: Run, end: JobEnd, output: JobOutput, outputs: Outputs = {}): boolean {
    return transaction(this.#database, () => {
      const [job] = this.#all("id = ? AND attempts = ? AND status IN ('starting', 'running')", id, attempts);
      if (job === undefined) return false;
      this.#charge({ tenant: job.tenant, placed: job.placed, cpus: job.spec.cpus });
      if (job.order !== undefined) return this.#finish(job, { reason: job.order }, output);
      if (!isFollowed(job, end)) return this.#finish(job, end, output, outputs);
      return this.#change("status = 'queued', placed = NULL, started = NULL, boot = NULL WHERE id = ?", id);
    });
  }

  /**
   * A job that is queued ends at once. One that holds resources gets an order, which stays until its
   * run has ended; the first order counts. Does nothing if it has ended.
   * @throws ServiceError `not-found`
   */
  cancel(tenant: string, id: string): JobRecord {
    return transaction(this.#database, () => {
      this.#endFor('cancelled', this.find(tenant, id));
      return this.find(tenant, id);
    });
  }

  /** Removes the record of a job that has ended. @throws ServiceError `not-found`, `conflict` */
  remove(tenant: string, id: string): void {
    transaction(this.#database, () => {
      if (this.find(tenant, id).status !== 'ended') throw new ServiceError('conflict', 'the job has not ended');
      this.#database.prepare('DELETE FROM jobs WHERE id = ?').run(id);
      this.#touched.set(id, tenant);
    });
  }

  /**
   * Ends jobs whose deadline has passed, as `cancel` does: a few, so that a tenant's 1000 do not keep
   * the server from all others. Returns whether there are more.
   */
  expire(): boolean {
    const due = `deadline <= ? AND status <> 'ended' AND "order" IS NULL`;
    const now = this.#time();
    // Without a transaction, nothing is written if there is none.
    const count = this.#count(due, now);
    if (count === 0) return false;
    transaction(this.#database, () => {
      for (const job of this.#all(`${due} ORDER BY deadline LIMIT ?`, now, MAX_EXPIRED)) this.#endFor('expired', job);
    });
    return count > MAX_EXPIRED;
  }

  #endFor(order: JobOrder, job: JobRecord): void {
    if (job.status === 'queued') this.#finish(job, { reason: order }, NOTHING);
    else this.#change(`"order" = ? WHERE id = ? AND status <> 'ended' AND "order" IS NULL`, order, job.id);
  }

  #finish({ id, tenant, spec }: JobRecord, end: JobEnd, output: JobOutput, outputs: Outputs = {}): boolean {
    const { lines, truncated, offset } = output;
    const { reason, exitCode = null, oomKilled, error = null } = end;
    const set = `status = 'ended', ended = ?, reason = ?, exitCode = ?, oomKilled = ?, error = ?, truncated = ?,
      stored = coalesce(?, 0), outputs = ?, outputsError = ?, callbackDue = ? WHERE id = ?`;
    const callback = spec.callback === undefined ? null : this.#clock();
    const { size = null, error: why = null } = outputs;
    const flags = [oomKilled ? 1 : null, error, truncated ? 1 : null];
    this.#change(set, this.#time(), reason, exitCode, ...flags, size, size, why, callback, id);
    const statement = 'INSERT INTO outputs (job, lines, "offset") SELECT number, ?, ? FROM jobs WHERE id = ?';
    this.#database.prepare(statement).run(lines, offset, id);
    const old = "SELECT number FROM jobs WHERE tenant = ? AND status = 'ended' ORDER BY number DESC LIMIT -1 OFFSET ?";
    const gone = this.#database.prepare(`DELETE FROM jobs WHERE number IN (${old}) RETURNING id`);
    for (const row of [{ id }, ...gone.all(tenant, this.#kept)]) this.#touched.set(ID.parse(row).id, tenant);
    addUsage(this.#database, tenant, { jobs: 1, succeeded: reason === 'succeeded' ? 1 : 0 }, this.#clock());
    this.#onEnd?.(tenant, reason);
    return true;
  }

  /** Jobs whose callbacks are due, and so many of one tenant at most. Who waits longest is first. */
  callbacksDue(most: number): Pick<JobRecord, 'id' | 'tenant'>[] {
    const due = `SELECT id, tenant, callbackDue, row_number() OVER (PARTITION BY tenant ORDER BY callbackDue) AS turn
      FROM jobs WHERE callbackDue <= ?`;
    const statement = `SELECT id, tenant FROM (${due}) WHERE turn <= ? ORDER BY callbackDue`;
    const rows = this.#database.prepare(statement).all(this.#clock(), most);
    return rows.map((row) => OWNED.parse(row));
  }

  callbackTaken(id: string): void {
    this.#change('callbackDue = NULL WHERE id = ?', id);
  }

  /** It is due again later, after twice the time of the last try, and in the end never. */
  callbackFailed(id: string, pause: number): void {
    const due = 'CASE WHEN callbackTries >= ? THEN NULL ELSE ? + min(?, ? << callbackTries) END';
    const set = `callbackDue = ${due}, callbackTries = callbackTries + 1 WHERE id = ?`;
    this.#change(set, MAX_CALLBACK_TRIES - 1, this.#clock(), MAX_CALLBACK_PAUSE, pause, id);
  }

  /**
   * The oldest outputs of a tenant whose files are too many are kept no longer.
   * @param uploaded bytes of its uploads that no job has
   */
  makeRoom(tenant: string, uploaded: number): void {
    let over = this.stored(tenant) + uploaded - this.filesOf(tenant);
    if (over <= 0) return;
    const statement = `SELECT id, status, outputs FROM jobs
      WHERE tenant = ? AND stored > 0 AND status = 'ended' ORDER BY ended, number`;
    const rows = this.#database.prepare(statement).all(tenant);
    for (const { id, outputs = 0 } of rows.map((row) => STORED.parse(row))) {
      if (over <= 0) break;
      over -= outputs;
      this.#change(`stored = 0, outputs = NULL, outputsError = ? WHERE id = ?`, "the tenant's share is used up", id);
      this.#touched.set(id, tenant);
    }
  }

  /** Bytes that the tenant's files may have. */
  filesOf(tenant: string): number {
    const row = this.#database.prepare('SELECT files FROM tenants WHERE name = ?').get(tenant);
    return row === undefined ? 0 : FILES.parse(row).files;
  }

  /** Bytes of the files of the tenant's jobs. */
  stored(tenant: string): number {
    const statement = 'SELECT total(stored) AS files FROM jobs WHERE tenant = ? AND stored > 0';
    return FILES.parse(this.#database.prepare(statement).get(tenant)).files;
  }

  /** The files that jobs of a tenant have. */
  *keepings(tenant: string): Generator<Keeping> {
    const statement = `SELECT id, status, outputs FROM jobs
      WHERE tenant = ? AND (status <> 'ended' OR stored > 0 OR outputs IS NOT NULL)`;
    for (const row of this.#database.prepare(statement).all(tenant)) {
      const { id, status, outputs } = STORED.parse(row);
      yield { id, isAlive: status !== 'ended', hasOutputs: outputs !== undefined };
    }
  }

  /** What has become of the files of jobs that have ended since the last call. */
  takeTouched(): (Keeping & { tenant: string })[] {
    const touched = [...this.#touched];
    this.#touched.clear();
    const statement = this.#database.prepare('SELECT id, status, outputs FROM jobs WHERE id = ?');
    return touched.map(([id, tenant]) => {
      const row = statement.get(id);
      const job = row === undefined ? undefined : STORED.parse(row);
      const isAlive = job !== undefined && job.status !== 'ended';
      return { id, tenant, isAlive, hasOutputs: job?.outputs !== undefined };
    });
  }

  /** Tenants with queued jobs. Who had the least is first; of equals, who waits longest. */
  #waiting(): Tenant[] {
    const had = new Map<string, number>();
    const placed = this.#database.prepare(`SELECT tenant, cpus, placed FROM jobs WHERE ${PLACED}`).all();
    for (const run of placed.map((row) => COST.parse(row))) {
      had.set(run.tenant, (had.get(run.tenant) ?? 0) + this.#cost(run));
    }
    const first = "SELECT min(number) FROM jobs WHERE tenant = name AND status = 'queued'";
    const statement = `SELECT * FROM (SELECT *, (${first}) AS first FROM tenants) WHERE first IS NOT NULL ORDER BY first`;
    const rows = this.#database.prepare(statement).all();
    return rows
      .map((row) => ({ tenant: TENANT.parse(row), charged: CHARGED.parse(row).charged }))
      .map(({ tenant, charged }) => ({ tenant, charged: charged + (had.get(tenant.name) ?? 0) }))
      .sort((a, b) => a.charged - b.charged)
      .map(({ tenant }) => tenant);
  }

  /** CPU-seconds of the run that is under way. */
  #cost({ cpus, placed }: Cost): number {
    const taken = placed === undefined ? 0 : this.#clock() - Date.parse(placed);
    return (cpus * Math.max(LEAST, taken)) / 1000;
  }

  #charge(run: Cost): void {
    const statement = 'UPDATE tenants SET charged = charged + ? WHERE name = ?';
    const cpuSeconds = this.#cost(run);
    this.#database.prepare(statement).run(cpuSeconds, run.tenant);
    addUsage(this.#database, run.tenant, { cpuSeconds }, this.#clock());
  }

  /** A tenant without jobs gets its first one. */
  #join(tenant: string): void {
    const job = "SELECT 1 FROM jobs WHERE tenant = name AND status <> 'ended'";
    const busy = `SELECT min(charged) FROM tenants WHERE EXISTS (${job})`;
    const statement = `UPDATE tenants SET charged =
      max(charged, coalesce((${busy}), (SELECT max(charged) FROM tenants))) WHERE name = ?`;
    this.#database.prepare(statement).run(tenant);
  }

  #count(where: string, ...values: string[]): number {
    const row = this.#database.prepare(`SELECT count(*) AS count FROM jobs WHERE ${where}`).get(...values);
    return COUNT.parse(row).count;
  }

  #change(set: string, ...values: (string | number | null)[]): boolean {
    return Number(this.#database.prepare(`UPDATE jobs SET ${set}`).run(...values).changes) === 1;
  }

  #all(where: string, ...values: (string | number | null)[]): JobRecord[] {
    return [...this.#each(where, ...values)];
  }

  *#each(where: string, ...values: (string | number | null)[]): Generator<JobRecord> {
    for (const row of this.#database.prepare(`SELECT * FROM jobs WHERE ${where}`).iterate(...values)) {
      const { spec, ...rest } = ROW.parse(row);
      yield { ...rest, spec: jobSpecSchema.parse(JSON.parse(spec)) };
    }
  }

  /** RFC 3339, of so many milliseconds from now. */
  #time(later = 0): string {
    return new Date(this.#clock() + later).toISOString();
  }
}

// Columns without the spec, which may be long.
const WANTED = z.object({ id: z.string(), cpus: z.number(), memory: z.number(), disk: z.number() });
const OWNED = ROW.pick({ id: true, tenant: true });
const STORED = ROW.pick({ id: true, status: true, outputs: true });
const COST = ROW.pick({ tenant: true, placed: true }).extend({ cpus: z.number() });
/** What a run costs its tenant. */
type Cost = z.output<typeof COST>;

const CHARGED = z.object({ charged: z.number() });
const COUNT = z.object({ count: z.number() });
const KEY = z.object({ key: z.string() });
const ID = z.object({ id: z.string() });
const FILES = z.object({ files: z.number() });

/** Those with a status. Those that have not ended are few beside the others, and have an index. */
function selecting(status: JobPage['status'], whose: string, names: string[]): [rows: string, values: string[]] {
  if (status === undefined) return ['true', []];
  if (status === 'ended') return ["status = 'ended'", []];
  const alive = `SELECT number FROM jobs WHERE ${whose}status <> 'ended'`;
  return status === 'alive'
    ? [`number IN (${alive})`, names]
    : [`number IN (${alive} AND status = ?)`, [...names, status]];
}

/** What fails says where. */
function told<T>(where: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    throw new ServiceError(error.code, `${where}: ${error.message}`, { cause: error });
  }
}

const fits = (wanted: Resources, most: Resources, taken: Resources): boolean =>
  lacking(wanted, most, taken) === undefined;
