// The folder of a container's sockets while it is alive: `$XDG_RUNTIME_DIR/tsvm/ID` or
// `/tmp/tsvm-UID/ID`. It is in use as long as a process holds its lock; the kernel releases that
// however the process dies. Folders are made, renamed and swept under a lock of the runtime folder.
import { existsSync, lstatSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import { AGENT_PORT } from '../agent/protocol.js';
import { SandboxError } from '../errors.js';
import { FileLock, isLocked } from './lock.js';

/**
 * Name of the vsock device's socket. `_PORT` is appended for each port of the host
 * (vmm/machine.ts).
 */
const VSOCK = 'vsock';
const CONTROL = 'control';
/** Not a socket folder: the containers of a read-only home. */
export const CONTAINERS = 'containers';
/** Not a socket folder: the meeting folders of private networks. */
export const NETWORKS = 'networks';
/** Ends the name of a folder whose control socket is not listened on yet. */
const NEW = '.new';
/** In the runtime folder and in each socket folder. */
const LOCK = 'lock';
/** Milliseconds to wait for the lock of the runtime folder, which is held for a few. */
const PATIENCE = 60_000;
/** Bytes of `sun_path` (unix(7)), without its NUL. */
const MAX_SOCKET_PATH = 107;
/** The longest name of a socket. */
const LONGEST_SOCKET = `${VSOCK}_${2 ** 32 - 1}`;

/**
 * Makes the runtime folder at `path` if it is missing, and checks that it belongs to this user and
 * is closed to others: anyone can make files in /tmp.
 * @returns `path`
 * @throws SandboxError `state`
 */
export function openRuntimeFolder(path: string): string {
  const uid = process.getuid!();
  try {
    // Its parent may be a home that does not exist yet.
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) {
      throw new SandboxError('state', `cannot make ${path}: ${messageOf(error)}`, { cause: error });
    }
  }
  const found = lstatSync(path);
  if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o077) !== 0) {
    throw new SandboxError('state', `${path} must be a folder that user ${uid} alone may enter: remove it`);
  }
  return path;
}

/** Path of the control socket in the socket folder at `path`. */
export function controlSocket(path: string): string {
  return join(path, CONTROL);
}

/**
 * Path of the socket that receives the guest's connections to `port`, in the socket folder at
 * `path`.
 */
export function portSocket(path: string, port: number): string {
  return join(path, `${VSOCK}_${port}`);
}

/** The socket folder of one container. Make it, listen on `control`, then `publish` it. */
export class SocketFolder implements Disposable {
  #path: string;

  private constructor(
    readonly id: string,
    readonly root: string,
    path: string,
    private readonly lock: FileLock,
  ) {
    this.#path = path;
  }

  /**
   * @param id 12 hexadecimal digits that no other process uses
   * @param root path of the runtime folder
   * @throws SandboxError `state`
   */
  static async make(id: string, root: string): Promise<SocketFolder> {
    const path = join(root, id + NEW);
    if (Buffer.byteLength(join(path, LONGEST_SOCKET)) > MAX_SOCKET_PATH) {
      throw new SandboxError('state', `${root} is too long a path for sockets: set XDG_RUNTIME_DIR to a shorter one`);
    }
    using _lock = await lockRuntime(root);
    let lock: FileLock | undefined;
    try {
      rmSync(path, { recursive: true, force: true });
      mkdirSync(path, { mode: 0o700 });
      lock = FileLock.take(join(path, LOCK));
    } catch (error) {
      throw new SandboxError('state', `cannot make ${path}: ${messageOf(error)}`, { cause: error });
    }
    if (lock === undefined) throw new SandboxError('state', `another process has locked ${path}`);
    return new SocketFolder(id, root, path, lock);
  }

  get path(): string {
    return this.#path;
  }

  /** The socket of the container's supervisor, for commands. */
  get control(): string {
    return controlSocket(this.#path);
  }

  /** The host side of the vsock device. */
  get vsock(): string {
    return join(this.#path, VSOCK);
  }

  /** The socket that receives the connections of the agent. */
  get agentSocket(): string {
    return portSocket(this.#path, AGENT_PORT);
  }

  /** Gives the folder its final name, by which others find it. @throws SandboxError `state` */
  async publish(): Promise<void> {
    const path = join(this.root, this.id);
    using _lock = await lockRuntime(this.root);
    try {
      // A supervisor that was killed left it.
      rmSync(path, { recursive: true, force: true });
      renameSync(this.#path, path);
    } catch (error) {
      throw new SandboxError('state', `cannot make ${path}: ${messageOf(error)}`, { cause: error });
    }
    this.#path = path;
  }

  /** Removes the sockets of the previous machine. */
  clear(): void {
    for (const name of readdirSync(this.#path)) {
      if (name.startsWith(VSOCK)) rmSync(join(this.#path, name), { force: true });
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#path, { recursive: true, force: true });
    this.lock[Symbol.dispose]();
  }
}

function lockRuntime(root: string): Promise<FileLock> {
  return FileLock.wait(join(root, LOCK), PATIENCE);
}

/**
 * Removes the socket folder whose final path is `path`, made or half-made, of a dead supervisor.
 * Does nothing if there is none.
 */
export function removeSocketFolder(path: string): void {
  for (const each of [path, path + NEW]) rmSync(each, { recursive: true, force: true });
}

/**
 * Removes the socket folders whose supervisor is dead.
 * @returns their names
 * @throws SandboxError `state`
 */
export async function sweepSocketFolders(root: string): Promise<string[]> {
  using _lock = await lockRuntime(root);
  const swept: string[] = [];
  for (const entry of readdirSync(root, { withFileTypes: true })) {
    const { name } = entry;
    if (!entry.isDirectory() || name === CONTAINERS || name === NETWORKS) continue;
    const path = join(root, name);
    try {
      if (isLocked(join(path, LOCK)) || (await isOfEarlierRelease(path))) continue;
      rmSync(path, { recursive: true, force: true });
      swept.push(name);
    } catch {
      // Its owner is removing it too, or it cannot be removed. The others can.
    }
  }
  return swept;
}

/** Resolves to true for the folder of a live supervisor of a release that made no locks. */
function isOfEarlierRelease(path: string): Promise<boolean> {
  if (existsSync(join(path, LOCK))) return Promise.resolve(false);
  return new Promise((resolve) => {
    const socket = connect(controlSocket(path));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // Other errors are those of a socket that has a listener.
    socket.once('error', (error) => resolve(!hasCode(error, 'ECONNREFUSED', 'ENOENT', 'ENOTSOCK')));
  });
}
