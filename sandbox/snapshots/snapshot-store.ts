// The snapshots of one home. `$TSVM_HOME/snapshots/.ID` is the folder of one, and the symbolic link
// NAME leads to it. A folder without a name is being made or removed, or belongs to a fork; whoever
// works with it holds the lock of the file `lock` in it. Nothing in a folder with a name changes.
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import { measureTree } from '../../libc/trees.js';
import { printableName } from '../../printable/index.js';
import { fileError, SandboxError } from '../errors.js';
import type { ContainerConfig } from '../home/container-record.js';
import type { Home } from '../home/home.js';
import { FileLock } from '../home/lock.js';
import { isSealed, readRecord, sealed, syncFolder, writeSynced } from '../home/records.js';
import { type CheckedFile, changeOf, checkFile } from '../machine/checked-file.js';
import { copyDisk, syncFile } from '../machine/copy-disk.js';
import { type FileChecksum, fileChecksum, sparseChecksum } from '../machine/file-checksum.js';

const VERSION = 3;
const RECORD = 'snapshot.json';
const MACHINE = 'machine';
const LAYER = 'layer.ext4';
const LOCK = 'lock';
/** Has the checksums of the saved machine's other files. */
const MANIFEST = join(MACHINE, 'manifest.json');
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}$/;
const FOLDER = /^\.[0-9a-f]{64}$/;

interface SnapshotRecord {
  version: number;
  /** RFC 3339. */
  created: string;
  /** The name of the container then. */
  source: string;
  /** The container that was copied. */
  config: ContainerConfig;
  /** The names of its private networks. */
  networks: readonly string[];
  manifest: FileChecksum;
  /** Of the writable disk. null: the container has none. */
  layer: CheckedFile | null;
  /** SHA-256 of all the others, as JSON. */
  sha256: string;
}

/** @throws SandboxError `bad-spec` */
export function checkSnapshotName(name: string): void {
  if (NAME.test(name)) return;
  const rule = "use two to 128 letters, digits, '_', '.' and '-', a letter or digit first";
  throw new SandboxError('bad-spec', `invalid snapshot name '${name.slice(0, 128)}': ${rule}`);
}

/** A snapshot that is whole, as far as its record says. */
export class Snapshot {
  /** @internal */
  constructor(
    /** Undefined for that of a fork. */
    readonly name: string | undefined,
    /** Path of its folder. */
    readonly path: string,
    private readonly record: SnapshotRecord,
  ) {}

  /** 64 hexadecimal digits. */
  get id(): string {
    return this.path.slice(-64);
  }

  /** RFC 3339. */
  get createdAt(): string {
    return this.record.created;
  }

  /** The name of the container that was copied, or its ID if it had none. */
  get source(): string {
    return this.record.source;
  }

  /** The configuration of that container. */
  get config(): ContainerConfig {
    return this.record.config;
  }

  /** The names of its private networks then. @internal */
  get networks(): readonly string[] {
    return this.record.networks;
  }

  /** Path of its saved machine. @internal */
  get machine(): string {
    return join(this.path, MACHINE);
  }

  /** Bytes on the host's disk. */
  async size(): Promise<number> {
    return (await measureTree(this.path)).bytes;
  }

  /** Bytes that a copy of the writable disk takes, unless the file system shares them. @internal */
  get diskUsage(): number {
    return (statSync(join(this.path, LAYER), { throwIfNoEntry: false })?.blocks ?? 0) * 512;
  }

  /**
   * Checks what the saved machine does not check itself when it continues.
   * @throws SandboxError `snapshot` if it is not what was written
   * @internal
   */
  async verify(): Promise<void> {
    await verify(join(this.path, MANIFEST), this.record.manifest, fileChecksum);
  }

  /**
   * Copies the writable disk to a new file.
   * @param replaces the copy is to take the place of a disk: it is all on the host's disk when this returns
   * @returns false if there is none
   * @throws SandboxError `no-space`, `state`; `snapshot` if it is not what was written
   * @internal
   */
  async copyLayer(to: string, { replaces = false } = {}): Promise<boolean> {
    const { layer } = this.record;
    if (layer === null) return false;
    const disk = openDisk(join(this.path, LAYER));
    try {
      await copyDisk(disk, to);
      chmodSync(to, 0o600);
      // After the copy: what changed meanwhile is seen, too.
      if ((await changeOf(disk, layer, sparseChecksum)) !== undefined) await verify(to, layer, sparseChecksum);
    } finally {
      closeSync(disk);
    }
    if (!replaces) return true;
    await syncFile(to).catch((cause) => {
      throw fileError(`cannot write ${to}`, cause);
    });
    return true;
  }
}

/** @throws SandboxError `state` */
function openDisk(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY);
  } catch (cause) {
    throw new SandboxError('state', `cannot copy ${path}: ${messageOf(cause)}`, { cause });
  }
}

async function verify(
  path: string,
  written: FileChecksum,
  checksumOf: (path: string) => Promise<FileChecksum>,
): Promise<void> {
  const found = await checksumOf(path).catch((cause) => {
    throw new SandboxError('snapshot', `the snapshot is damaged: ${messageOf(cause)}`, { cause });
  });
  if (found.size === written.size && found.crc32 === written.crc32) return;
  const what = found.size === written.size ? 'another checksum' : `${found.size} bytes, not ${written.size}`;
  throw new SandboxError('snapshot', `the snapshot is damaged: its ${basename(path)} has ${what}`);
}

/** A snapshot that is being made. Disposing of it removes it, unless it has a name. */
export class UnfinishedSnapshot implements Disposable {
  #isNamed = false;

  /** @internal */
  constructor(
    private readonly store: SnapshotStore,
    readonly path: string,
    private readonly lock: FileLock,
  ) {}

  /** Path of the saved machine, which does not exist yet. */
  get machine(): string {
    return join(this.path, MACHINE);
  }

  /** Path of the copy of the writable disk, which does not exist yet. */
  get layer(): string {
    return join(this.path, LAYER);
  }

  /**
   * Finishes it once its files are there. It has no name yet.
   * @param networks the names of the container's private networks
   * @throws SandboxError `state`
   */
  async finish(source: string, config: ContainerConfig, networks: readonly string[]): Promise<Snapshot> {
    const hasLayer = lstatSync(this.layer, { throwIfNoEntry: false }) !== undefined;
    try {
      for (const file of [MANIFEST, ...(hasLayer ? [LAYER] : [])]) chmodSync(join(this.path, file), 0o400);
      const record = sealed({
        version: VERSION,
        created: new Date().toISOString(),
        source,
        config,
        networks,
        manifest: await fileChecksum(join(this.path, MANIFEST)),
        layer: hasLayer ? await checkFile(this.layer, sparseChecksum) : null,
      });
      writeSynced(join(this.path, RECORD), JSON.stringify(record));
      syncFolder(this.path);
      return new Snapshot(undefined, this.path, record);
    } catch (cause) {
      throw fileError(`cannot write ${this.path}`, cause);
    }
  }

  /**
   * Gives it its name, and keeps it.
   * @param image digest of the image that it needs
   * @throws SandboxError `conflict` if the name is taken, `state`; ImageError
   */
  async keep(name: string, image: string): Promise<void> {
    await this.store.name(this.path, name, image);
    this.#isNamed = true;
  }

  [Symbol.dispose](): void {
    if (!this.#isNamed) rmSync(this.path, { recursive: true, force: true });
    this.lock[Symbol.dispose]();
  }
}

export class SnapshotStore {
  readonly #home: Home;
  readonly #path: string;

  constructor(home: Home) {
    this.#home = home;
    this.#path = join(home.path, 'snapshots');
  }

  /** Those that are whole, sorted by name. @throws SandboxError `state` */
  list(): Snapshot[] {
    return this.names().flatMap((name) => {
      try {
        return [this.find(name)];
      } catch (error) {
        if (hasCode(error, 'no-such-snapshot', 'snapshot')) return [];
        throw error;
      }
    });
  }

  /** Names of the snapshots whose record is damaged. `remove` removes them. @throws SandboxError `state` */
  damaged(): string[] {
    const whole = new Set(this.list().map(({ name }) => name));
    return this.names().filter((name) => !whole.has(name));
  }

  /** True if there is one of that name, whole or not. */
  has(name: string): boolean {
    return this.#target(name) !== undefined;
  }

  /**
   * Finds a snapshot by its name.
   * @throws SandboxError `no-such-snapshot`; `snapshot` if its record is damaged or of another version
   */
  find(name: string): Snapshot {
    const path = this.#folderOf(name);
    if (path === undefined) throw new SandboxError('no-such-snapshot', `no such snapshot: ${printableName(name)}`);
    return new Snapshot(name, path, readSnapshotRecord(path, name));
  }

  /** Those of one container, whole, sorted by name. @throws SandboxError `state` */
  ofContainer(id: string): Snapshot[] {
    return this.list().filter(({ config }) => config.id === id);
  }

  /**
   * Finds a snapshot of one container.
   * @throws SandboxError `no-such-snapshot`, also if it is of another; `snapshot` as `find`
   */
  findOf(id: string, name: string): Snapshot {
    const found = this.find(name);
    if (found.config.id === id) return found;
    const whose = `container ${id.slice(0, 12)} has no snapshot ${name}`;
    throw new SandboxError('no-such-snapshot', `${whose}: it is of ${printableName(found.source)}`);
  }

  /**
   * Begins a snapshot. Removes what killed processes left.
   * @throws SandboxError `state`
   * @internal
   */
  async begin(): Promise<UnfinishedSnapshot> {
    const path = join(this.#path, `.${randomBytes(32).toString('hex')}`);
    const lock = await this.#home.containers.withLock(() => {
      try {
        mkdirSync(path, { recursive: true, mode: 0o700 });
        return FileLock.take(join(path, LOCK));
      } catch (cause) {
        throw fileError(`cannot make ${path}`, cause);
      }
    });
    if (lock === undefined) throw new SandboxError('state', `cannot lock ${path}`);
    await this.sweep();
    return new UnfinishedSnapshot(this, path, lock);
  }

  /** @internal */
  async name(path: string, name: string, image: string): Promise<void> {
    checkSnapshotName(name);
    const holder = holderOf(path);
    await this.#home.images.hold(holder, image);
    try {
      symlinkSync(path.slice(this.#path.length + 1), join(this.#path, name));
      syncFolder(this.#path);
    } catch (cause) {
      await this.#home.images.release(holder);
      if (hasCode(cause, 'EEXIST')) throw new SandboxError('conflict', `the snapshot ${name} exists already`);
      throw fileError(`cannot make the snapshot ${name}`, cause);
    }
  }

  /**
   * Removes a snapshot. Machines that came from it keep its memory until they end.
   * @throws SandboxError `no-such-snapshot`, `state`
   */
  async remove(name: string): Promise<void> {
    const path = this.#folderOf(name);
    if (path === undefined) throw new SandboxError('no-such-snapshot', `no such snapshot: ${printableName(name)}`);
    try {
      rmSync(join(this.#path, name));
      syncFolder(this.#path);
      await this.#discard(path);
    } catch (cause) {
      throw new SandboxError('state', `cannot remove the snapshot ${name}: ${messageOf(cause)}`, { cause });
    }
  }

  /** Removes the folders without a name with which no process works. @throws SandboxError `state` @internal */
  async sweep(): Promise<void> {
    const entries = this.#entries();
    const named = new Set(entries.flatMap((name) => this.#target(name) ?? []));
    for (const folder of entries) {
      if (!FOLDER.test(folder) || named.has(folder)) continue;
      const path = join(this.#path, folder);
      // Under the lock, no folder is without a lock because it was just made.
      const lock = await this.#home.containers.withLock(() => takeLock(join(path, LOCK)));
      if (lock === undefined) continue;
      try {
        // It got its name, and its maker ended, meanwhile.
        if (!this.names().some((name) => this.#target(name) === folder)) await this.#discard(path);
      } finally {
        lock[Symbol.dispose]();
      }
    }
  }

  async #discard(path: string): Promise<void> {
    // First: while there is a folder, the next snapshot removes what is left.
    await this.#home.images.release(holderOf(path));
    rmSync(path, { recursive: true, force: true });
  }

  /** The names of all, whole or not. @throws SandboxError `state` @internal */
  names(): string[] {
    return this.#entries().filter((name) => this.#target(name) !== undefined);
  }

  #entries(): string[] {
    try {
      return readdirSync(this.#path);
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return [];
      throw new SandboxError('state', `cannot list the snapshots: ${messageOf(cause)}`, { cause });
    }
  }

  #folderOf(name: string): string | undefined {
    const folder = this.#target(name);
    return folder === undefined ? undefined : join(this.#path, folder);
  }

  /** The folder that a name leads to. */
  #target(name: string): string | undefined {
    if (!NAME.test(name)) return undefined;
    try {
      const folder = readlinkSync(join(this.#path, name));
      return FOLDER.test(folder) ? folder : undefined;
    } catch {
      return undefined;
    }
  }
}

/** The name by which a snapshot holds its image. */
function holderOf(path: string): string {
  return `snapshot-${path.slice(-64)}`;
}

/** Undefined if another process has it, or the folder is gone. */
function takeLock(path: string): FileLock | undefined {
  try {
    closeSync(openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600));
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
  return FileLock.take(path);
}

/** @throws SandboxError `snapshot` */
function readSnapshotRecord(path: string, name: string): SnapshotRecord {
  let found: SnapshotRecord | undefined;
  try {
    found = readRecord<SnapshotRecord>(join(path, RECORD));
  } catch (cause) {
    if (!hasCode(cause, 'ENOENT')) {
      throw new SandboxError('state', `cannot read the snapshot ${name}: ${messageOf(cause)}`, { cause });
    }
  }
  if (found === undefined || !isSealed(found)) {
    throw new SandboxError('snapshot', `the record of the snapshot ${name} is damaged: tsvm snapshot rm removes it`);
  }
  // Whoever wrote the digest wrote the rest, so only a version can be another.
  if (found.version === VERSION) return found;
  throw new SandboxError(
    'snapshot',
    `the snapshot ${name} has version ${found.version}, not ${VERSION}: another release of tsvm made it`,
  );
}
