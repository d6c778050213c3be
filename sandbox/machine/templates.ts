// Templates: machines that have booted and have no container, saved in a home. A run restores the
// one that fits instead of booting. A template is a cache: one that is missing, damaged or of another
// host costs time and nothing else.
import { createHash, randomUUID } from 'node:crypto';
import {
  accessSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import { SAVED_MEMORY, SAVED_STATE } from '../../vmm/machine.js';
import { boolean, integer, parseState, record, text } from '../../vmm/saved-state.js';
import { SandboxError } from '../errors.js';
import { FileLock, isLocked } from '../home/lock.js';
import { readRecord, syncFolder, writeSynced } from '../home/records.js';
import { MACHINE_PROGRAM } from '../programs.js';
import { type CheckedFile, changeOf, checkedFile, checkFile, fileIdentity } from './checked-file.js';
import { type FileChecksum, fileChecksum, sparseChecksum } from './file-checksum.js';
import { MachineFiles } from './machine-files.js';
import { hostCpu, newMachineFiles, version } from './saved-machine.js';

const VERSION = 2;
const MANIFEST = 'manifest.json';
const MEMORY = 'memory';
const STATE = 'state.json';
/** End the names of folders that are being made and removed. */
const NEW = '.new';
const REMOVED = '.removed';
/** Ends the names of files that say why a template was given up. */
const GIVEN_UP = '.failed';
/** Milliseconds until one that was given up may be tried again. */
const GIVEN_UP_FOR = 24 * 3600 * 1000;
const LOCK = 'lock';
const NAME = /^[0-9a-f]{32}$/;

/** What a template's guest sees of its machine, besides its kernel. */
export interface TemplateShape {
  cpus: number;
  /** Bytes. */
  memory: number;
  /** A disk for the writable layer, beside that of the image. */
  hasLayer: boolean;
  hasNetwork: boolean;
  hasShares: boolean;
}

interface Manifest {
  version: number;
  /** RFC 3339. */
  created: string;
  shape: TemplateShape;
  memory: CheckedFile;
  state: CheckedFile;
}

export interface Template {
  /** 32 hexadecimal digits. */
  name: string;
  created: string;
  /** Milliseconds since the epoch. */
  used: number;
  shape: TemplateShape;
  /** Bytes on the host's disk. */
  size: number;
}

const anyText = text(/^/, 'text');
const checkManifest = record<Manifest>({
  version: integer(VERSION, VERSION),
  created: anyText,
  shape: record<TemplateShape>({
    cpus: integer(1, 64),
    memory: integer(1, Number.MAX_SAFE_INTEGER),
    hasLayer: boolean,
    hasNetwork: boolean,
    hasShares: boolean,
  }),
  memory: checkedFile,
  state: checkedFile,
});

function inputIdentity(path: string | undefined): string {
  return path === undefined ? '' : `${path} ${fileIdentity(path)}`;
}

/**
 * The name of the template for a machine: what it depends on, hashed. Another host, kernel or build
 * has another name.
 * @throws Error of the file system
 */
export function templateName(
  { kernel, initramfs, modules }: { kernel: string; initramfs: string; modules?: string | undefined },
  shape: TemplateShape,
): string {
  const { cpus, memory, hasLayer, hasNetwork, hasShares } = shape;
  const parts = [
    VERSION,
    version(),
    ...[MACHINE_PROGRAM, kernel, initramfs, modules].map(inputIdentity),
    hostCpu(),
    release(),
    [cpus, memory, hasLayer, hasNetwork, hasShares],
  ];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}

/** The templates of one home. */
export class TemplateStore {
  /** @param path of their folder, which need not exist */
  constructor(readonly path: string) {}

  /** Those that are whole, the last used first. */
  list(): Template[] {
    return this.names()
      .flatMap((name) => this.#describe(name) ?? [])
      .sort((a, b) => b.used - a.used);
  }

  /** The names of all, also of damaged ones. */
  names(): string[] {
    try {
      return readdirSync(this.path).filter((name) => NAME.test(name));
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return [];
      throw error;
    }
  }

  /**
   * The name that begins so.
   * @throws SandboxError `no-such-template`, `ambiguous`
   */
  find(beginning: string): string {
    const [found, another] = this.names().filter((name) => beginning !== '' && name.startsWith(beginning));
    if (found === undefined) throw new SandboxError('no-such-template', `no such template: ${beginning}`);
    if (another !== undefined) throw new SandboxError('ambiguous', `several templates begin with ${beginning}`);
    return found;
  }

  #describe(name: string): Template | undefined {
    try {
      const path = join(this.path, name);
      const { created, shape } = readManifest(path);
      const used = statSync(join(path, MANIFEST)).mtimeMs;
      const size = [MEMORY, STATE, MANIFEST].reduce((sum, file) => sum + lstatSync(join(path, file)).blocks * 512, 0);
      return { name, created, used, shape, size };
    } catch {
      // Another process removes it, or it is damaged: a run that wants it removes it.
      return undefined;
    }
  }

  /** False if this process may not write to the folder, or not make it: a template has no place. */
  get isWritable(): boolean {
    for (let path = this.path; ; path = dirname(path)) {
      try {
        accessSync(path, constants.W_OK | constants.X_OK);
        return true;
      } catch (error) {
        if (!hasCode(error, 'ENOENT') || path === dirname(path)) return false;
      }
    }
  }

  /** True while a process makes a template. */
  get isBusy(): boolean {
    return isLocked(join(this.path, LOCK));
  }

  /**
   * Remembers for a day that a template cannot be made or continued. What is made without having been
   * asked for is not made again and again.
   */
  giveUp(name: string, reason: string): void {
    try {
      writeFileSync(join(this.path, `${name}${GIVEN_UP}`), `${reason}\n`);
    } catch {
      // It is tried again.
    }
  }

  /** True if a template of that name was given up less than a day ago. */
  wasGivenUp(name: string): boolean {
    const mark = statSync(join(this.path, `${name}${GIVEN_UP}`), { throwIfNoEntry: false });
    return mark !== undefined && Date.now() - mark.mtimeMs < GIVEN_UP_FOR;
  }

  /** True if there is one of that name. */
  has(name: string): boolean {
    return lstatSync(join(this.path, name), { throwIfNoEntry: false }) !== undefined;
  }

  /**
   * Opens a template for a machine that continues it, and remembers that it was used.
   * @returns undefined if there is none
   * @throws SandboxError `snapshot` if it is damaged
   */
  async open(name: string): Promise<MachineFiles | undefined> {
    const path = join(this.path, name);
    if (!this.has(name)) return undefined;
    const files = new MachineFiles();
    try {
      const manifest = readManifest(path);
      const memory = openSync(join(path, MEMORY), constants.O_RDONLY);
      files.add(SAVED_MEMORY, memory);
      const state = openSync(join(path, STATE), constants.O_RDONLY);
      files.add(SAVED_STATE, state);
      await verify(MEMORY, memory, manifest.memory, sparseChecksum);
      await verify(STATE, state, manifest.state, fileChecksum);
      const now = new Date();
      utimesSync(join(path, MANIFEST), now, now);
      return files;
    } catch (cause) {
      files[Symbol.dispose]();
      // Another process removed it meanwhile.
      if (!this.has(name)) return undefined;
      throw new SandboxError('snapshot', messageOf(cause), { cause });
    }
  }

  /** Removes a template. Machines that came from it keep its file. Returns false if there is none. */
  remove(name: string): boolean {
    if (!NAME.test(name)) return false;
    const path = join(this.path, name);
    const aside = `${path}.${randomUUID()}${REMOVED}`;
    try {
      renameSync(path, aside);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return false;
      throw error;
    }
    rmSync(aside, { recursive: true, force: true });
    return true;
  }

  /**
   * Removes templates until the rest takes at most `budget` bytes: the least recently used go first.
   * @returns those that were removed
   */
  prune(budget: number): Template[] {
    for (const name of this.names()) {
      if (this.#describe(name) === undefined) this.remove(name);
    }
    let size = 0;
    return this.list().filter((template) => {
      size += template.size;
      // A file system may report no blocks of a file that is there.
      return (budget === 0 || size > budget) && this.remove(template.name);
    });
  }

  /**
   * Begins a template. One is made at a time. What a process left that was killed is removed.
   * @returns undefined while another process makes one
   * @throws SandboxError `state`
   */
  begin(name: string): UnfinishedTemplate | undefined {
    try {
      mkdirSync(this.path, { recursive: true, mode: 0o700 });
      const lock = FileLock.take(join(this.path, LOCK));
      if (lock === undefined) return undefined;
      for (const left of readdirSync(this.path)) {
        const isOld = left.endsWith(GIVEN_UP) && !this.wasGivenUp(left.slice(0, -GIVEN_UP.length));
        if (left.endsWith(NEW) || left.endsWith(REMOVED) || isOld) {
          rmSync(join(this.path, left), { recursive: true, force: true });
        }
      }
      return new UnfinishedTemplate(join(this.path, name), lock);
    } catch (cause) {
      throw new SandboxError('state', `cannot make a template: ${messageOf(cause)}`, { cause });
    }
  }
}

/** A template that is being made. Disposing of it removes it, unless it is kept. */
export class UnfinishedTemplate implements Disposable {
  readonly #path: string;
  readonly #aside: string;
  readonly #lock: FileLock;

  /** @param lock owned from now on */
  constructor(path: string, lock: FileLock) {
    this.#path = path;
    this.#aside = `${path}${NEW}`;
    this.#lock = lock;
    mkdirSync(this.#aside, { mode: 0o700 });
  }

  /** The files for a machine with so many bytes of memory. */
  files(memory: number): MachineFiles {
    return newMachineFiles(this.#aside, memory);
  }

  /**
   * An empty folder, which the template's machine shares in place of those that runs will share.
   * @returns its path
   */
  emptyFolder(): string {
    const path = join(this.#aside, 'empty');
    mkdirSync(path, { mode: 0o500 });
    return path;
  }

  /** Finishes it once its machine has ended. It replaces one of the same name. @throws SandboxError `state` */
  async keep(shape: TemplateShape): Promise<void> {
    try {
      rmSync(join(this.#aside, 'empty'), { recursive: true, force: true });
      const memory = await checkFile(join(this.#aside, MEMORY), sparseChecksum);
      const state = await checkFile(join(this.#aside, STATE), fileChecksum);
      const manifest: Manifest = { version: VERSION, created: new Date().toISOString(), shape, memory, state };
      writeSynced(join(this.#aside, MANIFEST), JSON.stringify(manifest));
      rmSync(this.#path, { recursive: true, force: true });
      renameSync(this.#aside, this.#path);
      rmSync(`${this.#path}${GIVEN_UP}`, { force: true });
      syncFolder(dirname(this.#path));
    } catch (cause) {
      throw new SandboxError('state', `cannot write ${this.#path}: ${messageOf(cause)}`, { cause });
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#aside, { recursive: true, force: true });
    this.#lock[Symbol.dispose]();
  }
}

function readManifest(path: string): Manifest {
  const found = readRecord(join(path, MANIFEST));
  if (found === undefined) throw new RangeError(`the template has no whole ${MANIFEST}`);
  return parseState('manifest', checkManifest, found);
}

async function verify(
  name: string,
  fd: number,
  written: CheckedFile,
  checksumOf: (path: string) => Promise<FileChecksum>,
): Promise<void> {
  if ((await changeOf(fd, written, checksumOf)) === undefined) return;
  throw new RangeError(`the template is damaged: its ${name} is not what was written`);
}
