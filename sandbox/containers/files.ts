// The files of a container, by the tools of the agent, whether the container runs or not.
import { PassThrough, Readable, type Writable } from 'node:stream';
import { hasCode } from '../../errors/index.js';
import { type CallOptions, limited } from '../abort.js';
import { SandboxError } from '../errors.js';
import type { Supervised } from '../supervision/supervision.js';
import { askTool, runTool, splitAnswer, type ToolIo, withGuest } from './tools.js';

export type FileType = 'file' | 'directory' | 'symlink' | 'character' | 'block' | 'fifo' | 'socket';

const TYPES: Record<string, FileType> = {
  f: 'file',
  d: 'directory',
  l: 'symlink',
  c: 'character',
  b: 'block',
  p: 'fifo',
  s: 'socket',
};

/** Bytes. An event has one name, of at most 255 bytes. */
const MAX_EVENT = 4096;

/** A file in an answer of the agent: type, octal mode, uid, gid, size, mtime in seconds, name. */
const FILE = /^(\S) (\S+) (\S+) (\S+) (\S+) (\S+) (.*)$/s;

export interface FileInfo {
  name: string;
  type: FileType;
  /** Permission, set-id and sticky bits. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes. */
  size: number;
  mtime: Date;
}

export interface FileEvent {
  type: 'create' | 'change' | 'delete';
  /** Name of the file in the watched directory; empty for the watched file itself. */
  name: string;
}

/** What a container has added to (A), changed in (C) or deleted from (D) its image. */
export interface Change {
  kind: 'A' | 'C' | 'D';
  path: string;
}

/**
 * Every method takes absolute paths, and rejects with a SandboxError: `no-such-file`, `tool`,
 * `not-running`, `unresponsive`, `output`, `agent`; or as its `signal` and `timeout` say.
 */
export class ContainerFiles {
  readonly #container: Supervised;

  /** @internal */
  constructor(container: Supervised) {
    this.#container = container;
  }

  /** The file at `path`, following symbolic links. For a dangling link, the link itself. */
  async stat(path: string, options: CallOptions = {}): Promise<FileInfo> {
    const files = parseFiles(await this.#ask(options, 'stat', path));
    return files.at(-1) ?? unexpected();
  }

  /** The file at `path`, without following a symbolic link. */
  async lstat(path: string, options: CallOptions = {}): Promise<FileInfo> {
    const [file] = parseFiles(await this.#ask(options, 'stat', path));
    return file ?? unexpected();
  }

  /**
   * Where a copy to `path` goes: `path`, or what a symbolic link there leads to, which need not
   * exist. `type` is undefined if it does not.
   */
  async destination(path: string, options: CallOptions = {}): Promise<{ path: string; type: FileType | undefined }> {
    let files: FileInfo[];
    try {
      files = parseFiles(await this.#ask(options, 'stat', path));
    } catch (error) {
      if (hasCode(error, 'no-such-file')) return { path, type: undefined };
      throw error;
    }
    const [first, target] = files;
    if (first?.type !== 'symlink' || target?.type === 'directory') return { path, type: files.at(-1)?.type };
    const [followed = unexpected()] = splitAnswer(await this.#ask(options, 'follow', path));
    return { path: followed, type: target?.type };
  }

  /** The files in a directory, sorted by name. */
  async list(path: string, options: CallOptions = {}): Promise<FileInfo[]> {
    return parseFiles(await this.#ask(options, 'list', path)).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The contents of a file. */
  read(path: string, options: CallOptions = {}): Promise<Buffer> {
    return this.#ask(options, 'read', path);
  }

  /** Writes a file. `mode` applies to a new one. */
  async write(
    path: string,
    data: string | Uint8Array | Readable,
    { mode = 0o644, ...limits }: { mode?: number } & CallOptions = {},
  ): Promise<void> {
    const stdin = data instanceof Readable ? data : Readable.from([Buffer.from(data as Uint8Array)]);
    await this.#run(['write', path, mode.toString(8)], { stdin }, limits);
  }

  /** The changes of a file, or in a directory, from now on until `signal` aborts. */
  async *watch(path: string, { signal }: { signal?: AbortSignal } = {}): AsyncGenerator<FileEvent> {
    const output = new PassThrough();
    const ended = new AbortController();
    const stop = AbortSignal.any(signal === undefined ? [ended.signal] : [ended.signal, signal]);
    const done = runTool(this.#container.folder, ['watch', path], {
      stdout: output,
      signal: stop,
      waits: true,
    }).then(
      () => output.end(),
      (error) => output.destroy(stop.aborted ? undefined : error),
    );
    try {
      let rest = Buffer.alloc(0);
      for await (const chunk of output as AsyncIterable<Buffer>) {
        const bytes = Buffer.concat([rest, chunk]);
        const end = bytes.lastIndexOf(0) + 1;
        rest = bytes.subarray(end);
        if (rest.length > MAX_EVENT) throw unexpected();
        for (const text of splitAnswer(bytes.subarray(0, end))) {
          const [type, name = ''] = text.split(/ (.*)/s, 2);
          if (type !== 'ready') yield { type: type as FileEvent['type'], name };
        }
      }
    } catch (error) {
      if (!stop.aborted) throw error;
    } finally {
      ended.abort();
      await done;
    }
  }

  /** Writes a tar archive of `path` and everything below it, whose root is called `name`. */
  archive(
    path: string,
    name: string,
    output: Writable,
    { follow = false, ...limits }: { follow?: boolean | undefined } & CallOptions = {},
  ): Promise<void> {
    return this.#run(['archive', path, name, ...(follow ? ['follow'] : [])], { stdout: output }, limits);
  }

  /**
   * Extracts a tar archive into a directory. Files belong to root, or with `owners` to the owners
   * in the archive.
   */
  extract(
    directory: string,
    archive: Readable,
    { owners = false, ...limits }: { owners?: boolean | undefined } & CallOptions = {},
  ): Promise<void> {
    return this.#run(['extract', directory, ...(owners ? ['owners'] : [])], { stdin: archive }, limits);
  }

  /** The changes of the container to its image, sorted by path. */
  async changes(options: CallOptions = {}): Promise<Change[]> {
    const told = splitAnswer(await this.#ask(options, 'changes'))
      .map((text) => ({ kind: text.charAt(0), path: text.slice(2) }))
      .sort((a, b) => (`${a.path}/` < `${b.path}/` ? -1 : 1));
    const holders = new Set<string>();
    for (const { kind, path } of told) {
      for (let at = path; kind !== 'c' && at !== ''; at = at.slice(0, at.lastIndexOf('/'))) holders.add(at);
    }
    // A directory without changes in it was only touched to mount something.
    const changed = told.filter(({ kind, path }) => kind !== 'c' || holders.has(path));
    return changed.map(({ kind, path }) => ({ kind: kind.toUpperCase() as Change['kind'], path }));
  }

  /**
   * Shows a file or directory of the container at another path too, while it runs. The target is made
   * if it is missing. A source of null hides what is there.
   * @internal
   */
  async mount(source: string | null, target: string, { readOnly = false }: { readOnly?: boolean } = {}): Promise<void> {
    await this.#run(['mount', source ?? '-', target, ...(readOnly ? ['ro'] : [])], {}, {});
  }

  /** Writes the changes of the container as a layer of an image, a tar archive. */
  layer(output: Writable): Promise<void> {
    return this.#run(['layer'], { stdout: output }, {});
  }

  #ask(options: CallOptions, ...argv: string[]): Promise<Buffer> {
    const { folder } = this.#container;
    return limited(options, (signal) => withGuest(this.#container, () => askTool({ folder, signal }, ...argv)));
  }

  #run(argv: string[], io: ToolIo, options: CallOptions): Promise<void> {
    const { folder } = this.#container;
    return limited(options, (signal) => withGuest(this.#container, () => runTool(folder, argv, { ...io, signal })));
  }

  /** Runs `act`, and boots a container that does not run only once for all that it does. */
  together<T>(act: () => Promise<T>): Promise<T> {
    return withGuest(this.#container, act);
  }
}

function parseFiles(answer: Buffer): FileInfo[] {
  return splitAnswer(answer).map((text) => {
    const match = FILE.exec(text);
    if (match === null) return unexpected();
    const [, type = '', mode = '', uid, gid, size, mtime, name = ''] = match;
    return {
      name,
      type: TYPES[type] ?? 'file',
      mode: Number.parseInt(mode, 8),
      uid: Number(uid),
      gid: Number(gid),
      size: Number(size),
      mtime: new Date(Number(mtime) * 1000),
    };
  });
}

function unexpected(): never {
  throw new SandboxError('agent', "the guest's answer about files cannot be read");
}
