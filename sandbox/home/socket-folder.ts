// The folder of a container's sockets while it is alive: $XDG_RUNTIME_DIR/tsvm/<id>, or /tmp/tsvm-<uid>/<id>. It lives as
// long as its control socket is listened on; the kernel knows that, whatever way the owner died.
import { lstatSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import { AGENT_PORT } from '../agent/protocol.js';
import { SandboxError } from '../errors.js';

/** Name of the vsock device's socket; the ports of the host are appended to it (vmm/machine.ts). */
const VSOCK = 'vsock';
const CONTROL = 'control';
/** Not a run's folder: the containers of a read-only home. */
export const CONTAINERS = 'containers';
/** Where the members of private networks meet. */
export const NETWORKS = 'networks';
/** Marks a folder whose control socket is not listened on yet. */
const NEW = '.new';
/** Milliseconds after which a folder that is still being made has lost its owner: making one takes a few. */
const MAKING = 60_000;
/** `sun_path` of unix(7), without its NUL. */
const MAX_SOCKET_PATH = 107;
/** The longest name that a port gives. */
const LONGEST_SOCKET = `${VSOCK}_${2 ** 32 - 1}`;

/**
 * Makes the runtime folder at `path` if it is missing, and checks that it belongs to this user alone: /tmp is everybody's.
 * @returns `path`
 * @throws SandboxError `state`
 */
export function openRuntimeFolder(path: string): string {
  const uid = process.getuid!();
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) {
      throw new SandboxError('state', `cannot make ${path}: ${messageOf(error)}`, { cause: error });
    }
  }
  const found = lstatSync(path);
  if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o077) !== 0) {
    throw new SandboxError('state', `${path} is not a folder of user ${uid} alone: remove it`);
  }
  return path;
}

/** Where the control socket is in the folder of sockets at `path`. */
export function controlSocket(path: string): string {
  return join(path, CONTROL);
}

/** Where the guest's connections to a port of the host arrive, in the folder of sockets at `path`. */
export function portSocket(path: string, port: number): string {
  return join(path, `${VSOCK}_${port}`);
}

/** The folder of one container. Make it, listen on `control`, then `publish`. */
export class SocketFolder implements Disposable {
  #path: string;

  /**
   * @param id 12 hexadecimal digits; whoever makes the folder is alone to use them
   * @param root the runtime folder
   */
  constructor(
    readonly id: string,
    readonly root: string,
  ) {
    this.#path = join(root, this.id + NEW);
    if (Buffer.byteLength(join(this.#path, LONGEST_SOCKET)) > MAX_SOCKET_PATH) {
      throw new SandboxError('state', `${root} is too long a path for sockets: set XDG_RUNTIME_DIR to a shorter one`);
    }
    try {
      rmSync(this.#path, { recursive: true, force: true });
      mkdirSync(this.#path, { mode: 0o700 });
    } catch (error) {
      throw new SandboxError('state', `cannot make ${this.#path}: ${messageOf(error)}`, { cause: error });
    }
  }

  get path(): string {
    return this.#path;
  }

  /** Where commands talk to the container's supervisor. */
  get control(): string {
    return controlSocket(this.#path);
  }

  /** Host side of the vsock device. */
  get vsock(): string {
    return join(this.#path, VSOCK);
  }

  /** Where the guest's connections to the agent port arrive. */
  get agentSocket(): string {
    return portSocket(this.#path, AGENT_PORT);
  }

  /** Gives the folder its name; from now on it lives and dies with the socket that is listened on in it. */
  publish(): void {
    const path = join(this.root, this.id);
    // What a container that died left.
    rmSync(path, { recursive: true, force: true });
    renameSync(this.#path, path);
    this.#path = path;
  }

  /** Removes the sockets of a machine that is no more. */
  clear(): void {
    for (const name of readdirSync(this.#path)) {
      if (name.startsWith(VSOCK)) rmSync(join(this.#path, name), { force: true });
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#path, { recursive: true, force: true });
  }
}

/**
 * Removes the folders that lost their owner.
 * @returns their names
 */
export async function sweepSocketFolders(root: string): Promise<string[]> {
  const swept: string[] = [];
  await Promise.all(
    readdirSync(root).map(async (name) => {
      if (name === CONTAINERS || name === NETWORKS) return;
      const path = join(root, name);
      const lost = name.endsWith(NEW) ? madeLongAgo(path) : await refuses(controlSocket(path));
      if (!lost) return;
      try {
        rmSync(path, { recursive: true, force: true });
        swept.push(name);
      } catch {
        // Somebody else is removing it too.
      }
    }),
  );
  return swept;
}

function madeLongAgo(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found !== undefined && Date.now() - found.mtimeMs > MAKING;
}

/** Whether nobody listens on the unix socket. Being unsure (its queue is full) counts as somebody. */
function refuses(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', (error) => resolve(hasCode(error, 'ECONNREFUSED', 'ENOENT')));
  });
}
