// Files of a sandbox, one at a time, as a user of it. Its own programs change them, so that what they
// make belongs to that user: sh, cat, mkdir, mv and rm.
import { posix } from 'node:path';
import { PassThrough, type Readable, Writable } from 'node:stream';
import { within } from '../../deadline/index.js';
import { hasCode } from '../../errors/index.js';
import type { Container, FileInfo } from '../../sandbox/index.js';
import { ServiceError } from '../errors.js';
import type { Tenant } from '../records.js';
import type { Sandboxes } from './sandboxes.js';

/** Milliseconds of a transfer, and of a change. */
const TRANSFER_TIMEOUT = 600_000;
const CHANGE_TIMEOUT = 60_000;
const SIGKILL = 9;
const MAX_COMPLAINT = 1024;
/** Files in an answer. */
const MAX_ENTRIES = 10_000;

/** A file, and where it is. */
export interface Entry extends FileInfo {
  path: string;
  /** What a symbolic link leads to. The rest is of what is there, if anything is. */
  target?: string | undefined;
}

/** Who asks, and when they are gone. */
export interface FilesCall {
  tenant: Tenant;
  id: string;
  /** Default: the image's. */
  user?: string | undefined;
  signal: AbortSignal;
}

export class Files {
  readonly #sandboxes: Sandboxes;

  constructor(sandboxes: Sandboxes) {
    this.#sandboxes = sandboxes;
  }

  /** @throws ServiceError `no-file` if there is none */
  stat(call: FilesCall, path: string): Promise<Entry> {
    return this.#act(call, (container) => entryAt(container, absolute(container, path), call.signal));
  }

  /**
   * What is in a directory, so many levels deep.
   * @throws ServiceError `files` for no directory, and for too many files
   */
  list(call: FilesCall, path: string, depth: number): Promise<Entry[]> {
    return this.#act(call, async (container) => {
      const entries: Entry[] = [];
      const read = async (folder: string, left: number) => {
        for (const info of await container.files.list(folder, limits(call))) {
          if (entries.length >= MAX_ENTRIES)
            throw new ServiceError('files', `there are more than ${MAX_ENTRIES} files`);
          const where = posix.join(folder, info.name);
          entries.push(
            info.type === 'symlink' ? await entryAt(container, where, call.signal) : { ...info, path: where },
          );
          if (info.type === 'directory' && left > 1) await read(where, left - 1);
        }
      };
      const top = absolute(container, path);
      const { type } = await container.files.stat(top, limits(call));
      if (type !== 'directory') throw new ServiceError('files', `${top} is not a directory`);
      await read(top, depth);
      return entries;
    });
  }

  /** Makes a directory, and those above it. @throws ServiceError `conflict` if it is there */
  makeDirectory(call: FilesCall, path: string): Promise<Entry> {
    return this.#act(call, async (container) => {
      const where = absolute(container, path);
      if (await isThere(container, where, call)) throw new ServiceError('conflict', `${where} is there`);
      await change(container, call, ['mkdir', '-p', '--', where]);
      return await entryAt(container, where, call.signal);
    });
  }

  /** Gives a file or directory another path. @throws ServiceError `no-file` */
  move(call: FilesCall, from: string, to: string): Promise<Entry> {
    return this.#act(call, async (container) => {
      const [source, target] = [absolute(container, from), absolute(container, to)];
      await container.files.lstat(source, limits(call));
      const script = 'mkdir -p -- "${2%/*}/" && exec mv -T -- "$1" "$2"';
      await change(container, call, ['/bin/sh', '-c', script, 'mv', source, target]);
      return await entryAt(container, target, call.signal);
    });
  }

  /** Removes a file, or a directory with all in it. One that is not there is none. */
  remove(call: FilesCall, path: string): Promise<void> {
    return this.#act(call, (container) => change(container, call, ['rm', '-rf', '--', absolute(container, path)]));
  }

  /** Writes a file, and makes the directories above it. What came before an error stays. */
  write(call: FilesCall, path: string, data: Readable): Promise<Entry> {
    // It may break off before its reader has begun.
    data.on('error', () => {});
    return this.#act(call, async (container) => {
      const where = absolute(container, path);
      const script = 'mkdir -p -- "${1%/*}/" && exec cat > "$1"';
      await change(container, call, ['/bin/sh', '-c', script, 'write', where], data);
      return await entryAt(container, where, call.signal);
    });
  }

  /** The contents of a file. The stream breaks off with an error if it is not complete. */
  async read(call: FilesCall, path: string): Promise<Readable> {
    const use = await this.#sandboxes.occupy(call.tenant, call.id);
    const { container } = use;
    try {
      const where = absolute(container, path);
      const { type } = await container.files.stat(where, limits(call));
      if (type === 'directory') throw new ServiceError('files', `${where} is a directory`);
      const output = new PassThrough();
      const gone = new AbortController();
      output.once('close', () => {
        gone.abort();
        use[Symbol.dispose]();
      });
      const signal = AbortSignal.any([call.signal, gone.signal]);
      const reading = change(container, { ...call, signal }, ['cat', '--', where], undefined, output).then(
        () => output.end(),
        (error) => output.destroy(this.#sandboxes.tell(error, 'the file cannot be read')),
      );
      // An error before the first byte is the answer.
      await Promise.race([reading, new Promise((resolve) => output.once('readable', resolve))]);
      if (output.errored) throw output.errored;
      return output;
    } catch (error) {
      use[Symbol.dispose]();
      throw this.#sandboxes.tell(error, 'the file cannot be read');
    }
  }

  async #act<T>({ tenant, id }: FilesCall, act: (container: Container) => Promise<T>): Promise<T> {
    using use = await this.#sandboxes.occupy(tenant, id);
    try {
      return await act(use.container);
    } catch (error) {
      throw this.#sandboxes.tell(error, 'the files cannot be read or changed');
    }
  }
}

function limits({ signal }: Pick<FilesCall, 'signal'>) {
  return { signal, timeout: CHANGE_TIMEOUT };
}

/** A relative path starts where commands do. */
function absolute({ config }: Container, path: string): string {
  return posix.resolve('/', config.cwd, path);
}

async function isThere({ files }: Container, path: string, call: FilesCall): Promise<boolean> {
  try {
    await files.lstat(path, limits(call));
    return true;
  } catch (error) {
    if (hasCode(error, 'no-such-file')) return false;
    throw error;
  }
}

async function entryAt({ files }: Container, path: string, signal: AbortSignal): Promise<Entry> {
  const own = limits({ signal });
  const link = await files.lstat(path, own);
  const name = posix.basename(path);
  if (link.type !== 'symlink') return { ...link, name, path };
  const info = await files.stat(path, own);
  const { path: target } = await files.destination(path, own);
  return { ...info, name, path, target };
}

/** Runs a program to its end. @throws ServiceError `files` with its complaint */
async function change(
  container: Container,
  { user, signal }: FilesCall,
  command: string[],
  input?: Readable,
  output: Writable = new Writable({ write: (_chunk, _encoding, done) => done() }),
): Promise<void> {
  let complaint = '';
  const stderr = new Writable({
    write(chunk: Buffer, _encoding, done) {
      complaint = (complaint + chunk.toString()).slice(0, MAX_COMPLAINT);
      done();
    },
  });
  const timeout = input === undefined && command[0] !== 'cat' ? CHANGE_TIMEOUT : TRANSFER_TIMEOUT;
  let failure: Error | undefined = input?.errored ?? undefined;
  if (failure !== undefined) throw failure;
  const broken = new AbortController();
  input?.once('error', (error: Error) => {
    failure = error;
    broken.abort(error);
  });
  const limit = within(timeout, signal, broken.signal);
  const exec = await container.exec(
    { command, user, cwd: '/', stdin: input !== undefined },
    { stdin: input, stdout: output, stderr },
    { signal: limit },
  );
  const kill = () => {
    exec.signal(SIGKILL);
    exec.abandon();
  };
  limit.addEventListener('abort', kill, { once: true });
  if (limit.aborted) kill();
  try {
    const code = await exec.exit;
    if (failure !== undefined) throw failure;
    const [line = ''] = complaint.split('\n');
    if (code !== 0) throw new ServiceError('files', line === '' ? `${command[0]} exited with ${code}` : line);
  } catch (error) {
    if (failure !== undefined) throw failure;
    limit.throwIfAborted();
    throw error;
  } finally {
    limit.removeEventListener('abort', kill);
    exec.abandon();
  }
}
