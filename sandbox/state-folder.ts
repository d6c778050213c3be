// The folder of a run, where its sockets are: $XDG_RUNTIME_DIR/tsvm/<id>, or /tmp/tsvm-<uid>/<id>. A folder is alive as
// long as its agent socket is listened on; the kernel knows that, whatever way the owner died.
import { randomBytes } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { AGENT_PORT } from './agent-protocol.js';
import { SandboxError } from './errors.js';

/** Name of the vsock device's socket; the agent's port is appended to it (vmm/machine.ts). */
const VSOCK = 'vsock';
const AGENT_SOCKET = `${VSOCK}_${AGENT_PORT}`;
/** Marks a folder whose socket is not listened on yet. */
const NEW = '.new';
/** Milliseconds after which a folder that is still being made has lost its owner: making one takes a few. */
const MAKING = 60_000;
/** `sun_path` of unix(7), without its NUL. */
const MAX_SOCKET_PATH = 107;

/**
 * The folder that holds the run folders; made when missing. /tmp is everybody's, so it must be ours and closed to
 * others.
 * @throws SandboxError `state`
 */
export function runtimeFolder(): string {
  const uid = process.getuid!();
  const base = process.env.XDG_RUNTIME_DIR;
  // After su or sudo the variable may name another user's folder.
  const usable = base !== undefined && statSync(base, { throwIfNoEntry: false })?.uid === uid;
  const path = usable ? join(base, 'tsvm') : `/tmp/tsvm-${uid}`;
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'EEXIST') throw new SandboxError('state', `cannot make ${path}: ${message}`, { cause: error });
  }
  const found = lstatSync(path);
  if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o077) !== 0) {
    throw new SandboxError('state', `${path} is not a folder of user ${uid} alone: remove it`);
  }
  return path;
}

/** The folder of one run. Make it, listen on `agentSocket`, then `publish`. */
export class StateFolder implements Disposable {
  /** 12 hexadecimal digits. */
  readonly id = randomBytes(6).toString('hex');
  #path: string;

  constructor(readonly root = runtimeFolder()) {
    this.#path = join(root, this.id + NEW);
    if (Buffer.byteLength(this.agentSocket) > MAX_SOCKET_PATH) {
      throw new SandboxError('state', `${root} is too long a path for sockets: set XDG_RUNTIME_DIR to a shorter one`);
    }
    try {
      mkdirSync(this.#path, { mode: 0o700 });
    } catch (error) {
      throw new SandboxError('state', `cannot make ${this.#path}: ${(error as Error).message}`, { cause: error });
    }
  }

  /** Host side of the vsock device. */
  get vsock(): string {
    return join(this.#path, VSOCK);
  }

  /** Where the guest's connections to the agent port arrive. */
  get agentSocket(): string {
    return join(this.#path, AGENT_SOCKET);
  }

  /** Gives the folder its name; from now on it lives and dies with the socket that is listened on in it. */
  publish(): void {
    const path = join(this.root, this.id);
    renameSync(this.#path, path);
    this.#path = path;
  }

  [Symbol.dispose](): void {
    rmSync(this.#path, { recursive: true, force: true });
  }
}

/**
 * Removes the run folders that lost their owner.
 * @returns their names
 */
export async function sweepStateFolders(root = runtimeFolder()): Promise<string[]> {
  const swept: string[] = [];
  await Promise.all(
    readdirSync(root).map(async (name) => {
      const path = join(root, name);
      const lost = name.endsWith(NEW) ? madeLongAgo(path) : await refuses(join(path, AGENT_SOCKET));
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
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code === 'ECONNREFUSED' || code === 'ENOENT'));
  });
}
