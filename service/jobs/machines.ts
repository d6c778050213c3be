// The containers of jobs: each run has one of its own, in its tenant's home. Its name is recorded
// before it is made, and it is removed after its end is recorded. So what there is of a run says
// whether it may have begun.
import { createReadStream } from 'node:fs';
import { basename, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../../errors/index.js';
import { Container, type ContainerState, type LogEntry } from '../../sandbox/index.js';
import { ServiceError } from '../errors.js';
import type { JobEnd, JobOutput, JobRecord, OutputLine } from '../job.js';
import {
  findContainer,
  homeOf,
  imageName,
  type MachineOptions,
  proxied,
  removeContainer,
} from '../sandboxes/container.js';
import { tell } from '../sandboxes/tell.js';
import type { FileStore } from '../store/file-store.js';
import type { SecretStore } from '../store/secret-store.js';

/** The newest output that is kept, in characters of its lines. The log holds more. */
export const MAX_OUTPUT = 2 ** 20;
const LOG = { maxSize: 2 * MAX_OUTPUT, maxFiles: 3 };
/** Milliseconds in which files go into the machine of a run, or come from it. */
const FILES_TIMEOUT = 600_000;
/** As timeout(1). */
const TIMED_OUT = 124;
/** Milliseconds between a run's start and its record, at most. */
const SLACK = 1000;
/** Milliseconds between looks at a run that is about to start. */
const PAUSE = 100;

/**
 * What there is of a run:
 * - `absent`: nothing. It has not begun, or its end is recorded.
 * - `created`: its program has not begun, and will not without another start.
 * - `starting`: its program may begin at any moment.
 * - `running`
 * - `ended`
 */
export type Life = { name: 'absent' | 'created' | 'starting' | 'running' } | { name: 'ended'; end: JobEnd };

/** Where the runs of jobs are. They outlive the server. */
export interface Machines {
  /** The boot of the host. */
  readonly boot: string;
  /** Starts a run. Resolves when its program runs. @throws ServiceError */
  start(job: JobRecord): Promise<void>;
  look(job: JobRecord): Life;
  /** Resolves when the run may have changed its life. */
  wait(job: JobRecord): Promise<void>;
  /** Ends the program, if it runs. */
  kill(job: JobRecord): Promise<void>;
  /** What the run has written. */
  output(job: JobRecord): Promise<JobOutput>;
  /** Lines of the output, oldest first, until the run ends or `signal` is aborted. */
  follow(job: JobRecord, signal: AbortSignal): AsyncIterable<OutputLine>;
  /**
   * Writes what the run leaves, once its program has ended, as a tar archive.
   * @throws ServiceError `no-file` if it has left nothing; the reason of `signal`
   */
  collect(job: JobRecord, output: Writable, signal: AbortSignal): Promise<void>;
  /** Removes all of the run. */
  remove(job: JobRecord): Promise<void>;
  /** Removes a run whose program has not begun. Returns false if it has, or is about to. */
  withdraw(job: JobRecord): Promise<boolean>;
}

/** The name of the container that is the job's newest run. */
export const runName = ({ id, attempts }: JobRecord): string => `${id}-${attempts}`;

export class ContainerMachines implements Machines {
  readonly #options: MachineOptions;
  readonly boot: string;

  readonly #files: FileStore;
  readonly #secrets: SecretStore;

  constructor(boot: string, files: FileStore, secrets: SecretStore, options: MachineOptions) {
    this.boot = boot;
    this.#files = files;
    this.#secrets = secrets;
    this.#options = options;
  }

  async start(job: JobRecord): Promise<void> {
    const { spec, tenant } = job;
    const { accel, jail, onFallback, onFault } = this.#options;
    try {
      const secrets = {
        ...this.#secrets.join(tenant, spec.secrets),
        ...proxied(this.#options, { tenant, job: job.id }),
      };
      const container = await Container.create(homeOf(this.#options.folder, tenant), {
        ...{ image: imageName(spec.image), name: runName(job), command: spec.command, pull: 'never' },
        ...{ cpus: spec.cpus, memory: spec.memory, disk: spec.disk, env: spec.env, timeout: spec.timeout },
        ...(spec.cwd === undefined ? {} : { cwd: spec.cwd }),
        ...(spec.user === undefined ? {} : { user: spec.user }),
        network: spec.network === 'none' ? { mode: 'none' } : {},
        // A job has an end, and no health.
        ...{ accel, jail, logs: LOG, stdin: spec.stdin !== undefined, noHealthcheck: true },
      });
      if (spec.files !== undefined) await this.#extract(job, container);
      const input = spec.stdin === undefined ? undefined : resolve(this.#files.path(tenant, job.id, 'stdin'));
      await container.start({ onFallback, input, secrets });
    } catch (error) {
      throw tell(error, 'the job did not start', onFault);
    }
  }

  /** Without its program: the machine of this is another one. */
  async #extract({ tenant, id, spec }: JobRecord, { files }: Container): Promise<void> {
    const archive = createReadStream(this.#files.path(tenant, id, 'files'));
    // The guest takes it for the end of the archive.
    let failure: Error | undefined;
    archive.on('error', (error) => {
      failure = error;
    });
    try {
      await files.extract(spec.filesPath, archive, { timeout: FILES_TIMEOUT });
    } catch (error) {
      throw failure ?? error;
    } finally {
      archive.destroy();
    }
    if (failure !== undefined) throw failure;
  }

  async collect(job: JobRecord, output: Writable, signal: AbortSignal): Promise<void> {
    const path = job.spec.outputs ?? '/';
    const container = this.#find(job);
    if (container === undefined) throw new ServiceError('no-file', 'nothing is left of its machine');
    try {
      await container.files.archive(path, basename(path), output, { signal, timeout: FILES_TIMEOUT });
    } catch (error) {
      signal.throwIfAborted();
      throw tell(error, 'the files of the job cannot be read', this.#options.onFault);
    }
  }

  look(job: JobRecord): Life {
    const container = this.#find(job);
    if (container === undefined) return { name: 'absent' };
    const { state } = container;
    switch (state.status) {
      case 'exited':
        return { name: 'ended', end: endOf(state, job.spec.timeout) };
      case 'created':
        if (state.error !== undefined) return { name: 'ended', end: notStarted(state.exitCode) };
        // A server was killed while files went in.
        if (state.filesOnly) return { name: 'created' };
        // A supervisor that was killed may have started it.
        if (state.isOrphaned) return { name: 'ended', end: LOST };
        return { name: state.supervisorPid === undefined ? 'created' : 'starting' };
      default:
        return { name: 'running' };
    }
  }

  async wait(job: JobRecord): Promise<void> {
    const container = this.#find(job);
    if (container === undefined) return;
    if (this.look(job).name === 'running') await container.wait();
    else await sleep(PAUSE);
  }

  async kill(job: JobRecord): Promise<void> {
    try {
      await this.#find(job)?.stop({ timeout: 0 });
    } catch (error) {
      if (!hasCode(error, 'not-running', 'no-such-container')) throw error;
    }
  }

  async output(job: JobRecord): Promise<JobOutput> {
    return await keepNewest(asLines(this.#find(job)?.logs() ?? []));
  }

  follow(job: JobRecord, signal: AbortSignal): AsyncIterable<OutputLine> {
    return asLines(this.#find(job)?.logs({ follow: true, signal }) ?? []);
  }

  remove(job: JobRecord): Promise<void> {
    return removeContainer(homeOf(this.#options.folder, job.tenant), runName(job));
  }

  async withdraw(job: JobRecord): Promise<boolean> {
    try {
      await this.#find(job)?.remove();
      return true;
    } catch (error) {
      if (hasCode(error, 'running')) return false;
      throw error;
    }
  }

  #find(job: JobRecord): Container | undefined {
    return findContainer(homeOf(this.#options.folder, job.tenant), runName(job));
  }
}

const LOST: JobEnd = { reason: 'lost', error: 'its machine ended' };

function endOf({ exitCode, oomKilled, isOrphaned, error, ...state }: ContainerState, timeout: number): JobEnd {
  // A server that is killed while it reads the files takes nothing from the end before.
  if ((isOrphaned && !state.filesOnly) || error !== undefined) return LOST;
  const took = Date.parse(state.finishedAt ?? '') - Date.parse(state.startedAt ?? '');
  if (exitCode === TIMED_OUT && took > timeout - SLACK) return { reason: 'timed-out', exitCode };
  return { reason: exitCode === 0 ? 'succeeded' : 'failed', exitCode, ...(oomKilled ? { oomKilled } : {}) };
}

/** @param exitCode docker's of a container that did not start */
function notStarted(exitCode: number): JobEnd {
  if (exitCode === 126 || exitCode === 127) return { reason: 'not-started', error: 'the program cannot be run' };
  return { reason: 'lost', error: 'its machine did not start' };
}

/** Entries of a log as lines of output. They have as many bytes, so the log's offsets are the lines'. */
export async function* asLines(entries: AsyncIterable<LogEntry> | Iterable<LogEntry>): AsyncGenerator<OutputLine> {
  let end = 0;
  for await (const { stream, time, log, offset: start = end } of entries) {
    const line = `${JSON.stringify({ stream, time, log })}\n`;
    end = start + Buffer.byteLength(line);
    yield { line, start, end };
  }
}

/** The newest lines, of `MAX_OUTPUT` characters together at most. */
export async function keepNewest(output: AsyncIterable<OutputLine>): Promise<JobOutput> {
  const lines: OutputLine[] = [];
  let size = 0;
  let first = 0;
  for await (const line of output) {
    lines.push(line);
    size += line.line.length;
    while (size > MAX_OUTPUT) size -= lines[first++]?.line.length ?? 0;
  }
  const kept = lines.slice(first);
  const offset = kept[0]?.start ?? 0;
  return { lines: kept.map(({ line }) => line).join(''), truncated: offset > 0, offset };
}
