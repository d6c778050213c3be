// The folder of a container, `$TSVM_HOME/containers/ID`. Its supervisor holds the kernel lock of
// the file `lock` in it, so a state of "running" is true only while that lock is held. No repair is
// ever needed.
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode, messageOf } from '../../errors/index.js';
import { isCgroupOf, KILL_TIMEOUT, removeCgroup } from '../cgroup/machine-cgroup.js';
import { SandboxError } from '../errors.js';
import { bootId, type ContainerConfig, type ContainerState, CREATED, orphaned, suspended } from './container-record.js';
import { FileLock, isLocked } from './lock.js';
import { readRecord, syncFolder, writeSynced } from './records.js';
import { removeSocketFolder } from './socket-folder.js';

const CONFIG = 'config.json';
const STATE = 'state.json';
const LOCK = 'lock';
/** A supervisor locks byte 0 too. A process that removes the container locks what comes after it. */
const AFTER_SUPERVISOR = 1;
/** Milliseconds that another process may take to tidy up: to end two cgroups, and to remove files. */
const PATIENCE = 2 * KILL_TIMEOUT + 30_000;
const LOG = 'log.json';
const LAYER = 'layer.ext4';
const SUSPENDED = 'suspended';
const NETWORKS = 'networks.json';
/** Ends the name of a folder that is being made or removed. */
export const REMOVED = '.removed';

export interface NewFolder {
  isSupervised?: boolean;
  layer?: string | undefined;
  networks?: Readonly<Record<string, readonly string[]>> | undefined;
}

export class ContainerFolder {
  readonly path: string;

  /** @param root path of the folder of all containers (`ContainerStore.path`) */
  constructor(
    root: string,
    readonly id: string,
  ) {
    this.path = join(root, id);
  }

  /** 12 digits: the ID in listings, the default host name, and the name of the socket folder. */
  get shortId(): string {
    return this.id.slice(0, 12);
  }

  get log(): string {
    return join(this.path, LOG);
  }

  /** Path of the disk image of the writable layer. */
  get layer(): string {
    return join(this.path, LAYER);
  }

  /** Path of the folder of its saved machine, which is there while it is suspended. */
  get suspended(): string {
    return join(this.path, SUSPENDED);
  }

  isSuspended(): boolean {
    return existsSync(this.suspended);
  }

  /** Path of the list of networks, present once it differs from the spec (`setMemberships`). */
  get networks(): string {
    return join(this.path, NETWORKS);
  }

  /**
   * Makes the folder and its files, then gives it its name: a visible folder is always complete,
   * also after a power failure if the container is kept.
   * With `isSupervised`, this process is the supervisor from the beginning.
   * @param layer path of a disk in the same file system, which becomes that of the writable layer
   * @param networks its private networks, if they are not those of its spec
   * @returns the supervisor's lock, with `isSupervised`
   * @throws SandboxError `state`
   */
  make(config: ContainerConfig, { isSupervised = false, layer, networks }: NewFolder = {}): FileLock | undefined {
    const aside = `${this.path}${REMOVED}`;
    const state = isSupervised ? { ...CREATED, supervisorPid: process.pid, bootId: bootId() } : CREATED;
    let lock: FileLock | undefined;
    try {
      mkdirSync(aside, { recursive: true, mode: 0o700 });
      const isKept = config.spec.autoRemove !== true;
      const write = isKept ? writeSynced : (path: string, text: string) => writeFileSync(path, text, { mode: 0o600 });
      write(join(aside, CONFIG), JSON.stringify(config));
      writeFileSync(join(aside, STATE), JSON.stringify(state), { mode: 0o600 });
      if (networks !== undefined) write(join(aside, NETWORKS), JSON.stringify(networks));
      if (layer !== undefined) renameSync(layer, join(aside, LAYER));
      if (isSupervised) lock = FileLock.take(join(aside, LOCK));
      if (isKept) syncFolder(aside);
      renameSync(aside, this.path);
      if (isKept) syncFolder(dirname(this.path));
      return lock;
    } catch (cause) {
      lock?.[Symbol.dispose]();
      rmSync(aside, { recursive: true, force: true });
      throw new SandboxError('state', `cannot make ${this.path}: ${messageOf(cause)}`, { cause });
    }
  }

  /**
   * Undefined if there is no such container, it was removed, or `isDamaged`.
   * @throws SandboxError `state`
   */
  config(): ContainerConfig | undefined {
    return readIfThere<ContainerConfig>(join(this.path, CONFIG));
  }

  /**
   * True if the container is there and its configuration is lost: an older version wrote it, and
   * the host went down.
   */
  isDamaged(): boolean {
    return this.config() === undefined && existsSync(this.path);
  }

  /**
   * The current state: a container whose supervisor is dead is not running, whatever the record
   * says.
   * @throws SandboxError `state`
   */
  state(): ContainerState {
    // Whoever supervises it has settled the record before.
    if (this.isSupervised()) return this.#written();
    const state = this.#written();
    if (this.isSuspended()) return suspended(orphaned(state));
    if (state.supervisorPid === undefined) return state;
    // It may be the record of one that has begun in between, or of one that has recorded its end since.
    const isSupervised = this.isSupervised();
    const again = this.#written();
    if (isSupervised) return again;
    return again.supervisorPid === undefined ? again : orphaned(again);
  }

  /** Path of the socket folder in the last record. The supervisor may be gone by now. */
  get sockets(): string | undefined {
    return this.#written().sockets;
  }

  #written(): ContainerState {
    return readIfThere<ContainerState>(join(this.path, STATE)) ?? CREATED;
  }

  /** Only the holder of the lock may call this. @throws SandboxError `state` */
  writeState(state: ContainerState): void {
    const path = join(this.path, STATE);
    try {
      writeFileSync(`${path}.new`, JSON.stringify(state), { mode: 0o600 });
      renameSync(`${path}.new`, path);
    } catch (cause) {
      throw new SandboxError('state', `cannot write ${path}: ${messageOf(cause)}`, { cause });
    }
  }

  /**
   * Keeps supervisors and all others who change the container away, and leaves it unsupervised for
   * processes that read its state. Undefined if another process keeps it, or has removed it.
   * @throws SandboxError `state`
   */
  hold(): FileLock | undefined {
    try {
      return FileLock.take(join(this.path, LOCK), { from: AFTER_SUPERVISOR });
    } catch (error) {
      if (!existsSync(this.path)) return undefined;
      throw error;
    }
  }

  /**
   * As {@link hold}, and waits for a process that holds it. Undefined if it is supervised or does
   * not exist.
   * @throws SandboxError `state`, also if it is held for too long
   */
  async waitToHold(): Promise<FileLock | undefined> {
    const deadline = performance.now() + PATIENCE;
    while (existsSync(this.path)) {
      const lock = this.hold();
      if (lock !== undefined || this.isSupervised()) return lock;
      if (performance.now() > deadline) {
        throw new SandboxError('state', `another process has kept ${this.path} for ${PATIENCE / 1000} s`);
      }
      await sleep(5);
    }
    return undefined;
  }

  /**
   * Takes the lock of a supervisor, as {@link waitToHold} does.
   * @throws SandboxError `state`
   */
  async lock(): Promise<FileLock | undefined> {
    const lock = await this.waitToHold();
    if (lock === undefined) return undefined;
    try {
      this.#settle();
      if (lock.widen()) return lock;
    } catch (error) {
      lock[Symbol.dispose]();
      throw error;
    }
    lock[Symbol.dispose]();
    return undefined;
  }

  /** Records the end of a container whose supervisor was killed, before the next one is seen. */
  #settle(): void {
    const state = this.#written();
    if (state.supervisorPid === undefined) return;
    try {
      this.writeState(orphaned(state));
    } catch {
      // The disk is full: it looks as it did, until the supervisor can write.
    }
  }

  isSupervised(): boolean {
    return isLocked(join(this.path, LOCK));
  }

  /**
   * Ends what a supervisor that was killed left of the machine, with the cgroups. Only the
   * holder of the lock may call this.
   * @throws SandboxError `cgroup`
   */
  async removeCgroups(): Promise<void> {
    const { cgroup, supervisorCgroup } = this.#written();
    for (const path of [cgroup, supervisorCgroup]) {
      if (path !== undefined && isCgroupOf(path, this.shortId)) await removeCgroup(path);
    }
  }

  /**
   * Removes the folder, and the sockets of a supervisor that was killed. Only the holder of the
   * lock may call this.
   * @param runtime path of the runtime folder
   * @throws SandboxError `state`
   */
  remove(runtime: string): void {
    const aside = `${this.path}${REMOVED}`;
    const sockets = join(runtime, this.shortId);
    try {
      for (const path of new Set([sockets, this.sockets ?? sockets])) removeSocketFolder(path);
      renameSync(this.path, aside);
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return;
      throw new SandboxError('state', `cannot remove ${this.path}: ${messageOf(cause)}`, { cause });
    }
    rmSync(aside, { recursive: true, force: true });
  }
}

/** Undefined if the record is missing or incomplete. @throws SandboxError `state` */
function readIfThere<T extends object>(path: string): T | undefined {
  try {
    return readRecord<T>(path);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw new SandboxError('state', `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
}
