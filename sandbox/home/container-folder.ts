// The folder of a container, $TSVM_HOME/containers/<id>. Whoever supervises the container holds the kernel lock of the
// file `lock` in it; so a state that says "running" is true only while that lock is held. Nothing ever needs repair.
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import { SandboxError } from '../errors.js';
import { type ContainerConfig, type ContainerState, CREATED, orphaned } from './container-record.js';
import { FileLock, isLocked } from './lock.js';

const CONFIG = 'config.json';
const STATE = 'state.json';
const LOCK = 'lock';
const LOG = 'log.json';
const LAYER = 'layer.ext4';
const NETWORKS = 'networks.json';
/** Ends the name of a folder that is on its way out. */
export const REMOVED = '.removed';

export class ContainerFolder {
  readonly path: string;

  /** @param root the folder of all containers; see `ContainerStore` */
  constructor(
    root: string,
    readonly id: string,
  ) {
    this.path = join(root, id);
  }

  /** 12 digits: what people are shown, the default host name, and the name of the folder of sockets. */
  get shortId(): string {
    return this.id.slice(0, 12);
  }

  get log(): string {
    return join(this.path, LOG);
  }

  /** The disk of the writable layer. */
  get layer(): string {
    return join(this.path, LAYER);
  }

  /** Which networks it was connected to, where that is not as its specification says. */
  get networks(): string {
    return join(this.path, NETWORKS);
  }

  /** Makes the folder, complete: whoever sees it sees its configuration. */
  make(config: ContainerConfig): void {
    const aside = `${this.path}${REMOVED}`;
    try {
      mkdirSync(aside, { recursive: true, mode: 0o700 });
      writeFileSync(join(aside, CONFIG), JSON.stringify(config), { mode: 0o600 });
      writeFileSync(join(aside, STATE), JSON.stringify(CREATED), { mode: 0o600 });
      renameSync(aside, this.path);
    } catch (cause) {
      rmSync(aside, { recursive: true, force: true });
      throw new SandboxError('state', `cannot make ${this.path}: ${messageOf(cause)}`, { cause });
    }
  }

  /** Nothing when there is no such container, or none any more. */
  config(): ContainerConfig | undefined {
    return readJson<ContainerConfig>(join(this.path, CONFIG));
  }

  /** What is true now: a container whose supervisor is dead is not running, whatever was written last. */
  state(): ContainerState {
    const state = this.#written();
    if (state.supervisorPid === undefined || isLocked(join(this.path, LOCK))) return state;
    // It may have ended between the two looks, and then said how.
    const again = this.#written();
    return again.supervisorPid === undefined ? again : orphaned(again);
  }

  /** Where its supervisor listened when it last wrote; who connects learns whether it does. */
  get sockets(): string | undefined {
    return this.#written().sockets;
  }

  #written(): ContainerState {
    return readJson<ContainerState>(join(this.path, STATE)) ?? CREATED;
  }

  /** Only for the supervisor, which has the lock. */
  writeState(state: ContainerState): void {
    const path = join(this.path, STATE);
    try {
      writeFileSync(`${path}.new`, JSON.stringify(state), { mode: 0o600 });
      renameSync(`${path}.new`, path);
    } catch (cause) {
      throw new SandboxError('state', `cannot write ${path}: ${messageOf(cause)}`, { cause });
    }
  }

  /** The lock of whoever supervises the container; nothing if somebody does. */
  lock(): FileLock | undefined {
    return FileLock.take(join(this.path, LOCK));
  }

  isSupervised(): boolean {
    return isLocked(join(this.path, LOCK));
  }

  /** Takes everything away. Only for the supervisor, which has the lock. */
  remove(): void {
    const aside = `${this.path}${REMOVED}`;
    try {
      renameSync(this.path, aside);
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return;
      throw new SandboxError('state', `cannot remove ${this.path}: ${messageOf(cause)}`, { cause });
    }
    rmSync(aside, { recursive: true, force: true });
  }
}

/** Nothing when there is no such file, or not all of it: the host went down before it was written out. */
function readJson<T>(path: string): T | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw new SandboxError('state', `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
  try {
    return JSON.parse(text) as T;
  } catch {
    return undefined;
  }
}
