// The jobs of all tenants. The database is the queue; this places jobs as room comes free, follows
// each run to its end, and carries orders out. Whatever it does is derived from the record of a job and
// from what there is of its run: a server that starts goes on where another was killed.
import { randomBytes } from 'node:crypto';
import { createReadStream, openSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode, messageOf } from '../../errors/index.js';
import { ServiceError, type ServiceErrorCode } from '../errors.js';
import {
  isFollowed,
  type JobEnd,
  type JobEvent,
  type JobReason,
  type JobRecord,
  type JobRequest,
  type JobWait,
  type OutputPlace,
  type Outputs,
  readRequest,
} from '../job.js';
import type { Resources, Tenant } from '../records.js';
import { imageName } from '../sandboxes/container.js';
import { checkPlaceholders } from '../secret.js';
import type { FileStore } from '../store/file-store.js';
import type { JobPage, JobStore, NewJob } from '../store/job-store.js';
import type { Machines } from './machines.js';

/** Milliseconds between looks at a job whose output is followed. */
const PAUSE = 100;
/** Milliseconds between looks for deadlines, and for room that a sandbox has given back. */
const TICK = 500;
/** Milliseconds between looks for uploads whose time is over. */
const EXPIRY = 60_000;
/** Milliseconds until what failed is tried again. */
const AGAIN = 10_000;
/** Errors of a start that another one would meet too. */
const NEVER: readonly ServiceErrorCode[] = ['no-image', 'no-command', 'no-secret', 'bad-request', 'no-file', 'files'];
/** A program that ended so may have left files. */
const LEAVING: readonly JobReason[] = ['succeeded', 'failed', 'timed-out'];

/** Whether its program ran, and how it ended. */
const UNKNOWN: JobEnd = { reason: 'lost', error: 'nothing is left of its machine' };

export interface JobsOptions {
  /** What all jobs and sandboxes together may hold. */
  host: Resources;
  /** Called with a failure that no request gets. */
  onFault: (message: string) => void;
}

export class Jobs {
  readonly #store: JobStore;
  readonly #files: FileStore;
  readonly #machines: Machines;
  readonly #options: JobsOptions;
  readonly #closed = new AbortController();
  /** The jobs whose runs are being ended. */
  readonly #killing = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  /** When uploads expire next, as performance.now(). */
  #expiry = 0;

  constructor(store: JobStore, files: FileStore, machines: Machines, options: JobsOptions) {
    this.#store = store;
    this.#files = files;
    this.#machines = machines;
    this.#options = options;
  }

  /** Takes over what an earlier server left, and begins. Call it before all else. */
  recover(): void {
    for (const job of this.#store.placed()) this.#follow(job);
    this.#timer = setInterval(() => this.tick(), TICK);
    this.tick();
  }

  /**
   * Queues a job.
   * @param key a second call with the same one returns what became of the first
   * @throws ServiceError `bad-request`, also if there is no such upload; `quota`, `conflict`
   */
  submit(tenant: Tenant, request: JobRequest, key?: string): JobRecord {
    const job = this.#prepare(tenant, request);
    return this.#queue(tenant, [job], () => this.#store.add(tenant, this.#options.host, { ...job, key }));
  }

  /**
   * Queues all of the jobs, or none.
   * @param key a second call with the same one returns what became of the first
   * @throws ServiceError as `submit`
   */
  submitAll(tenant: Tenant, requests: readonly JobRequest[], key?: string): JobRecord[] {
    const jobs = requests.map((request) => this.#prepare(tenant, request));
    return this.#queue(tenant, jobs, () => this.#store.addAll(tenant, this.#options.host, jobs, key));
  }

  /** What a request asks for, as a job. @throws ServiceError `bad-request` */
  #prepare(tenant: Tenant, request: JobRequest): NewJob {
    const { spec, inputs } = readRequest(request);
    imageName(spec.image);
    checkPlaceholders(spec);
    const id = `job-${randomBytes(8).toString('hex')}`;
    const keep = (left: number) => {
      const bytes = this.#files.keep(tenant.name, id, inputs);
      if (bytes > 0 && bytes + this.#files.uploaded(tenant.name) > left) throw usedUp(tenant);
      return bytes;
    };
    return { id, spec, keep };
  }

  /** If `add` fails, the files of the jobs are gone. */
  #queue<T>(tenant: Tenant, jobs: readonly NewJob[], add: () => T): T {
    this.#files.expire(tenant.name, Date.now());
    try {
      const result = add();
      this.tick();
      return result;
    } catch (error) {
      for (const { id } of jobs) this.#files.remove(tenant.name, id);
      throw error;
    }
  }

  /**
   * Keeps what a tenant sends, for jobs to come.
   * @throws ServiceError `quota`; the error of `content`
   */
  upload(tenant: Tenant, content: AsyncIterable<Uint8Array>): Promise<{ digest: string; size: number }> {
    const { name } = tenant;
    this.#files.expire(name, Date.now());
    return this.#files.upload(name, content, () => this.#store.filesOf(name) - this.#store.stored(name));
  }

  /**
   * What a job has left: a tar archive.
   * @throws ServiceError `not-found`; `conflict` if it has not ended, `no-file`
   */
  outputs(tenant: Tenant, id: string): Readable {
    const { status, outputs, outputsError = 'it names no outputs' } = this.find(tenant, id);
    if (status !== 'ended') throw new ServiceError('conflict', 'the job has not ended');
    if (outputs === undefined) throw new ServiceError('no-file', `the job has left no files: ${outputsError}`);
    const path = this.#files.path(tenant.name, id, 'outputs');
    return createReadStream(path, { fd: openSync(path, 'r') });
  }

  /** @throws ServiceError `not-found` */
  find(tenant: Pick<Tenant, 'name'>, id: string): JobRecord {
    return this.#store.find(tenant.name, id);
  }

  /** The job of whichever tenant. @throws ServiceError `not-found` */
  findAny(id: string): JobRecord {
    return this.#store.findAny(id);
  }

  /** Those of all tenants, newest first, or of the one that is named. @throws ServiceError `bad-request` */
  listAll(tenant: string | undefined, page: JobPage): Iterable<JobRecord> {
    return this.#store.list(tenant, page);
  }

  /** Why each of them waits that is queued, by their IDs. */
  waits(jobs: readonly JobRecord[]): Map<string, JobWait> {
    const queued = jobs.filter(({ status }) => status === 'queued');
    if (queued.length === 0) return new Map();
    const known = this.#store.waits(this.#options.host);
    return new Map(queued.map(({ id }) => [id, known.get(id) ?? 'turn']));
  }

  /** Those of the tenant, newest first. @throws ServiceError `bad-request` */
  list(tenant: Tenant, page: JobPage): Iterable<JobRecord> {
    return this.#store.list(tenant.name, page);
  }

  /** Where the list of the tenant, or of all, goes on behind a job. */
  cursor(tenant: string | undefined, { id }: JobRecord): string {
    return this.#store.cursor(tenant, id);
  }

  /**
   * Ends a job. One that is queued has ended when this returns; a run ends soon after.
   * @throws ServiceError `not-found`
   */
  cancel(tenant: Tenant, id: string): JobRecord {
    const record = this.#store.cancel(tenant.name, id);
    this.tick();
    return record;
  }

  /**
   * Removes a job that has ended, with its output and files.
   * @throws ServiceError `not-found`; `conflict` if it has not ended
   */
  remove(tenant: Tenant, id: string): void {
    this.#store.remove(tenant.name, id);
    this.#tidy();
  }

  /**
   * Lines of the job's output, oldest first: of the run that is under way, or of the last one.
   * @param follow waits for what comes, through all runs to the end of the job
   * @param signal the reader is gone
   * @throws ServiceError `not-found` at the first line
   */
  async *output(tenant: Tenant, id: string, follow: boolean, signal: AbortSignal): AsyncGenerator<string> {
    const job = this.find(tenant, id);
    if (follow) {
      for await (const event of this.events(tenant, id, { offset: 0 }, signal)) {
        if (event.name === 'line') yield event.line;
      }
    } else if (job.status === 'ended') yield this.#store.output(id);
    else if (job.status !== 'queued') yield (await this.#machines.output(job)).lines;
  }

  /**
   * The job's output from a place on, and what comes, through all runs to the end of the job. A line
   * that the place is within comes whole. Of runs before the newest one nothing is kept.
   * @param signal the reader is gone
   * @throws ServiceError as `checkPlace`
   */
  async *events(
    tenant: Pick<Tenant, 'name'>,
    id: string,
    from: OutputPlace,
    signal: AbortSignal,
  ): AsyncGenerator<JobEvent> {
    const over = AbortSignal.any([signal, this.#closed.signal]);
    const place = { run: this.checkPlace(tenant, id, from), offset: from.offset };
    let followed = 0;
    while (!over.aborted) {
      const job = this.find(tenant, id);
      const isOver = job.status === 'ended';
      if (isOver ? job.attempts > 0 : job.status === 'running' && job.attempts !== followed) {
        followed = job.attempts;
        if (job.attempts !== place.run) {
          Object.assign(place, { run: job.attempts, offset: 0 });
          yield { name: 'run', place: { ...place } };
        }
        for await (const { line, start, end } of isOver
          ? this.#store.outputLines(id)
          : this.#machines.follow(job, over)) {
          if (over.aborted) return;
          if (end <= place.offset) continue;
          if (start > place.offset) yield { name: 'gap', place: { ...place }, bytes: start - place.offset };
          place.offset = end;
          yield { name: 'line', place: { ...place }, line };
        }
      }
      if (isOver) {
        yield { name: 'end', place: { ...place }, job };
        return;
      }
      if (job.status !== 'running' || job.attempts === followed) await pause(over);
    }
  }

  /**
   * Returns the run of a place in the output of a job.
   * @throws ServiceError `not-found`; `bad-request` if there has been no such run
   */
  checkPlace(tenant: Pick<Tenant, 'name'>, id: string, { run }: OutputPlace): number {
    const newest = Math.max(this.find(tenant, id).attempts, 1);
    if (run !== undefined && (run < 1 || run > newest)) {
      throw new ServiceError('bad-request', `the job has had no run ${run}`);
    }
    return run ?? newest;
  }

  /** Does what is due. @internal */
  tick(): void {
    if (this.#closed.signal.aborted) return;
    try {
      if (this.#store.expire()) setImmediate(() => this.tick());
      this.#expireUploads();
      for (;;) {
        const job = this.#store.place(this.#options.host, this.#machines.boot);
        if (job === undefined) break;
        this.#follow(job, this.#start(job));
      }
      this.#tidy();
      for (const job of this.#store.ordered()) this.#kill(job);
    } catch (error) {
      this.#options.onFault(`the queue of jobs: ${messageOf(error)}`);
    }
  }

  /** Ends reading and placing. Runs go on. */
  close(): void {
    this.#closed.abort();
    clearInterval(this.#timer);
  }

  /** Resolves to why it did not start. */
  async #start(job: JobRecord): Promise<JobEnd | undefined> {
    try {
      await this.#machines.start(job);
      return undefined;
    } catch (error) {
      const reason = hasCode(error, ...NEVER) ? 'not-started' : 'lost';
      return { reason, error: messageOf(error) };
    }
  }

  /** Ends a run. Who follows it sees its end. */
  #kill(job: JobRecord): void {
    if (this.#killing.has(job.id)) return;
    this.#killing.add(job.id);
    const act = async () => {
      try {
        await this.#machines.kill(job);
      } catch (error) {
        this.#fault(job, 'end', error);
        await sleep(AGAIN, undefined, { ref: false });
      } finally {
        this.#killing.delete(job.id);
      }
    };
    act();
  }

  #fault({ id, tenant }: JobRecord, what: string, error: unknown): void {
    if (!this.#closed.signal.aborted) this.#options.onFault(`cannot ${what} ${id} of ${tenant}: ${messageOf(error)}`);
  }

  /** Follows a run to its end, which is recorded. What fails is tried again. */
  #follow(job: JobRecord, starting?: Promise<JobEnd | undefined>): void {
    const act = async () => {
      const failure = await starting;
      for (let isDone = false; !isDone && !this.#closed.signal.aborted; ) {
        try {
          isDone = await this.#step(job, failure);
        } catch (error) {
          this.#fault(job, 'follow', error);
          await sleep(AGAIN, undefined, { ref: false });
        }
      }
    };
    act().finally(() => this.tick());
  }

  /**
   * One step of a run to its end. Returns true if there is no further one.
   * @param failure its start failed
   */
  async #step(job: JobRecord, failure: JobEnd | undefined): Promise<boolean> {
    if (failure !== undefined) return this.#end(job, failure);
    const life = this.#machines.look(job);
    switch (life.name) {
      case 'running':
        if (this.#store.run(job)) this.tick();
        await this.#machines.wait(job);
        return false;
      case 'starting':
        await this.#machines.wait(job);
        return false;
      case 'ended':
        return this.#end(job, life.end);
      case 'created':
        // What a host that went down has written last may be older than what it did.
        if (job.boot !== this.#machines.boot) return this.#end(job, UNKNOWN);
        return (await this.#machines.withdraw(job)) && this.#neverBegun(job);
      case 'absent':
        return this.#neverBegun(job);
    }
  }

  #expireUploads(): void {
    if (performance.now() < this.#expiry) return;
    this.#expiry = performance.now() + EXPIRY;
    this.#files.expireAll(Date.now());
  }

  /** Removes files that are kept no longer, and the oldest outputs if a tenant has too much. */
  #tidy(): void {
    const tenants = this.#removeFiles();
    if (tenants.size === 0) return;
    // What jobs have read is an upload alone from now on.
    for (const tenant of tenants) this.#store.makeRoom(tenant, this.#files.uploaded(tenant));
    this.#removeFiles();
  }

  /** Returns the tenants whose files they were. */
  #removeFiles(): Set<string> {
    const tenants = new Set<string>();
    for (const { id, tenant, isAlive, hasOutputs } of this.#store.takeTouched()) {
      tenants.add(tenant);
      if (isAlive) continue;
      if (hasOutputs) this.#files.removeInputs(tenant, id);
      else this.#files.remove(tenant, id);
    }
    return tenants;
  }

  /** Ends the run and the job, or queues the job again. The container goes last. */
  async #end(job: JobRecord, end: JobEnd): Promise<true> {
    await this.#machines.kill(job);
    const output = await this.#machines.output(job);
    this.#store.end(job, end, output, await this.#collect(job, end));
    this.tick();
    await this.#machines.remove(job);
    return true;
  }

  /** Keeps what the job leaves, if this was its last run and it is not to end for another reason. */
  async #collect(job: JobRecord, end: JobEnd): Promise<Outputs> {
    const { spec, tenant, id } = job;
    if (spec.outputs === undefined || isFollowed(job, end) || !LEAVING.includes(end.reason)) return {};
    if (this.#store.find(tenant, id).order !== undefined) return {};
    const most = this.#store.filesOf(tenant) - this.#files.uploaded(tenant);
    try {
      const write = (output: Writable, signal: AbortSignal) => this.#machines.collect(job, output, signal);
      return { size: await this.#files.keepOutputs(tenant, id, most, write) };
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      return { error: error.message };
    }
  }

  /** The job is queued again. If it is to end, or ran once, it ends. */
  #neverBegun(job: JobRecord): true {
    if (!this.#store.unplace(job)) this.#store.end(job, UNKNOWN, { lines: '', truncated: false, offset: 0 });
    return true;
  }
}

function usedUp({ files }: Tenant): ServiceError {
  return new ServiceError('quota', `the tenant's share is ${files} bytes of files`);
}

/** Waits for the next look at a job, or until `signal` is aborted. */
async function pause(signal: AbortSignal): Promise<void> {
  try {
    await sleep(PAUSE, undefined, { signal });
  } catch {
    // The caller looks at the signal.
  }
}
