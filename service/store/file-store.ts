// The files of jobs, in the data folder: what they read, what they leave, and what tenants have
// uploaded for them. A file is complete once it has its name. What no record names is removed when a
// server starts: so a file is made before its record, and removed after it.
import { createHash } from 'node:crypto';
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { hasCode } from '../../errors/index.js';
import { ServiceError } from '../errors.js';
import { DIGEST, type JobFile, type JobInput } from '../job.js';
import { sync } from './sync.js';

/** Milliseconds that an upload is kept after it was last written or asked for. */
export const UPLOAD_LIFETIME = 3_600_000;
/** The most bytes of one file. */
export const MAX_FILE = 2 ** 30;
/** The most uploads of a tenant. */
const MAX_UPLOADS = 1000;
export const UPLOADS = 'uploads';
/** The end of the name of a file that is not complete. */
export const PART = '.part';

/** What a record says of a job's files. */
export interface Keeping {
  id: string;
  /** It has not ended: it may run, or run again. */
  isAlive: boolean;
  hasOutputs: boolean;
}

export class FileStore {
  readonly #root: string;
  /** Bytes that are being written, by tenant. */
  readonly #writing = new Map<string, number>();
  #parts = 0;

  /** @param folder path of the data folder */
  constructor(folder: string) {
    this.#root = filesPath(folder);
  }

  /**
   * Keeps what a tenant sends, for jobs to come. What has the same contents is one upload.
   * @param room the bytes that are left of the tenant's share, but for its uploads. It is asked again
   *   at the end: others have come meanwhile.
   * @throws ServiceError `quota`; the error of `content`
   */
  async upload(
    tenant: string,
    content: AsyncIterable<Uint8Array>,
    room: () => number,
  ): Promise<{ digest: string; size: number }> {
    const folder = this.#folder(tenant, UPLOADS);
    if (readdirSync(folder).length >= MAX_UPLOADS) throw new ServiceError('quota', `${MAX_UPLOADS} uploads are kept`);
    const hash = createHash('sha256');
    const [path, size] = await this.#write(tenant, folder, room() - this.uploaded(tenant), async (part) => {
      for await (const chunk of content) {
        hash.update(chunk);
        await part.write(chunk);
      }
    });
    const digest = `sha256:${hash.digest('hex')}`;
    if (size > room() - this.uploaded(tenant)) {
      rmSync(path);
      throw usedUp();
    }
    renameSync(path, join(folder, nameOf(digest)));
    sync(folder);
    return { digest, size };
  }

  /** Bytes of the tenant's uploads that no job has: a job counts its own. */
  uploaded(tenant: string): number {
    let bytes = 0;
    for (const name of list(join(this.#root, tenant, UPLOADS))) {
      const status = statSync(join(this.#root, tenant, UPLOADS, name), { throwIfNoEntry: false });
      if (status !== undefined && status.nlink === 1 && !name.endsWith(PART)) bytes += status.size;
    }
    return bytes;
  }

  /** Removes uploads of all tenants whose time is over. */
  expireAll(now: number): void {
    for (const tenant of list(this.#root)) this.expire(tenant, now);
  }

  /** Removes uploads whose time is over. */
  expire(tenant: string, now: number): void {
    const folder = join(this.#root, tenant, UPLOADS);
    for (const name of list(folder)) {
      const status = statSync(join(folder, name), { throwIfNoEntry: false });
      if (status !== undefined && status.mtimeMs < now - UPLOAD_LIFETIME) rmSync(join(folder, name), { force: true });
    }
  }

  /**
   * Keeps what a job reads. It is on the disk when this returns.
   * @returns its bytes
   * @throws ServiceError `bad-request` if there is no such upload
   */
  keep(tenant: string, job: string, inputs: ReadonlyMap<JobFile, JobInput>): number {
    if (inputs.size === 0) return 0;
    const folder = this.#folder(tenant, job);
    let bytes = 0;
    for (const [name, input] of inputs) {
      const path = join(folder, name);
      if (input.bytes === undefined) this.#link(tenant, input.digest, path);
      else writeFileSync(path, input.bytes, { mode: 0o600, flush: true });
      bytes += statSync(path).size;
    }
    sync(folder);
    sync(join(folder, '..'));
    return bytes;
  }

  #link(tenant: string, digest: string, path: string): void {
    const upload = join(this.#root, tenant, UPLOADS, nameOf(digest));
    try {
      linkSync(upload, path);
      const now = new Date();
      utimesSync(upload, now, now);
    } catch (cause) {
      if (!hasCode(cause, 'ENOENT')) throw cause;
      throw new ServiceError('bad-request', `no such upload: ${digest}`, { cause });
    }
  }

  /** Path of what a job reads, or leaves. */
  path(tenant: string, job: string, name: JobFile | 'outputs'): string {
    return join(this.#root, tenant, job, name);
  }

  /**
   * Keeps what a job leaves, instead of what it has left before.
   * @param write writes it, until its signal is aborted
   * @returns its bytes
   * @throws ServiceError `quota` if it has more than `most`; the error of `write`
   */
  async keepOutputs(
    tenant: string,
    job: string,
    most: number,
    write: (output: Writable, signal: AbortSignal) => Promise<void>,
  ): Promise<number> {
    const folder = this.#folder(tenant, job);
    const [path, size] = await this.#write(tenant, folder, most, async (part) => {
      const failed = new AbortController();
      const output = new Writable({
        write: (chunk: Buffer, _encoding, done) => void part.write(chunk).then(() => done(), done),
      });
      output.on('error', (error) => failed.abort(error));
      try {
        await write(output, failed.signal).catch((error: unknown) => {
          failed.signal.throwIfAborted();
          throw error;
        });
        // What comes last may fail after `write` is done.
        failed.signal.throwIfAborted();
        await finished(output.end());
      } finally {
        // A `write` that has failed may go on: its bytes count no more.
        output.destroy();
      }
    });
    renameSync(path, this.path(tenant, job, 'outputs'));
    sync(folder);
    sync(join(folder, '..'));
    return size;
  }

  /** Writes a new file of a tenant. What is not complete is gone. */
  async #write(
    tenant: string,
    folder: string,
    most: number,
    write: (part: { write(chunk: Uint8Array): Promise<void> }) => Promise<void>,
  ): Promise<[path: string, size: number]> {
    const path = join(folder, `${this.#parts++}${PART}`);
    let size = 0;
    let handle: FileHandle | undefined;
    const count = (bytes: number) => {
      const writing = (this.#writing.get(tenant) ?? 0) + bytes;
      if (writing > 0) this.#writing.set(tenant, writing);
      else this.#writing.delete(tenant);
      return writing;
    };
    try {
      const file = await open(path, 'wx', 0o600);
      handle = file;
      await write({
        write: async (chunk) => {
          size += chunk.length;
          if (count(chunk.length) > most) throw usedUp();
          if (size > MAX_FILE) throw new ServiceError('too-large', `it has more than ${MAX_FILE} bytes`);
          await file.writeFile(chunk);
        },
      });
      await file.sync();
      return [path, size];
    } catch (error) {
      rmSync(path, { force: true });
      throw error;
    } finally {
      count(-size);
      await handle?.close();
    }
  }

  /** A job has ended: what it read goes. */
  removeInputs(tenant: string, job: string): void {
    for (const name of ['stdin', 'files'] as const) rmSync(this.path(tenant, job, name), { force: true });
    if (list(join(this.#root, tenant, job)).length === 0) this.remove(tenant, job);
  }

  /** All files of a job go. */
  remove(tenant: string, job: string): void {
    rmSync(join(this.#root, tenant, job), { recursive: true, force: true });
  }

  /** Removes the files of all who are no tenants. Call it before all else. */
  removeOthers(tenants: ReadonlySet<string>): void {
    for (const name of list(this.#root)) {
      if (!tenants.has(name)) rmSync(join(this.#root, name), { recursive: true, force: true });
    }
  }

  /** Removes what no record names. Call it before all else. */
  sweep(tenant: string, records: Iterable<Keeping>): void {
    const known = new Map([...records].map((record) => [record.id, record]));
    for (const job of list(join(this.#root, tenant))) {
      const record = known.get(job);
      const names = list(join(this.#root, tenant, job));
      for (const name of names) {
        const isNamed = name === 'outputs' ? record?.hasOutputs : job === UPLOADS || record?.isAlive;
        if (!isNamed || name.endsWith(PART)) rmSync(join(this.#root, tenant, job, name), { force: true });
      }
      if (job !== UPLOADS && !record?.hasOutputs && !record?.isAlive) this.remove(tenant, job);
    }
  }

  /** Path of a folder of a tenant, which is there. */
  #folder(tenant: string, name: string): string {
    const path = join(this.#root, tenant, name);
    if (!existsSync(path)) {
      mkdirSync(path, { recursive: true, mode: 0o700 });
      for (const above of [join(this.#root, tenant), this.#root, join(this.#root, '..')]) sync(above);
    }
    return path;
  }
}

/** Path of the files of all jobs, or of a tenant's. */
export function filesPath(folder: string, tenant = ''): string {
  return join(folder, 'files', tenant);
}

const usedUp = () => new ServiceError('quota', "the tenant's share of files is used up");

const nameOf = (digest: string): string => DIGEST.exec(digest)?.[1] ?? '-';

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}
