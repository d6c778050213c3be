// The machine of the containers that are in one network namespace, as those of a pod are. The first
// container brings the machine, and its end is that of the machine; the others join it.
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { hasCode } from '../../errors/index.js';
import { type InterfaceSpec, type MachineNamespace, NAMESPACES } from '../../sandbox/agent/protocol.js';
import type { SocketFolder } from '../../sandbox/home/socket-folder.js';
import { SILENT } from '../../sandbox/log.js';
import { MachineClient } from '../../sandbox/machine/machine-client.js';
import { GuestMachine } from '../../sandbox/run/guest-machine.js';
import { Trace } from '../../sandbox/run/trace.js';
import type { OciMachine } from '../config/machine.js';
import { OciError } from '../config/oci-error.js';
import { replaceFile } from './state-folder.js';

/** The file of the first container's state folder by which others find the machine. */
const NETWORK = 'network';
/** Containers of a machine: the agent's most, without those that are being removed. */
const MOST = 60;

export class Pod {
  readonly machine = new GuestMachine(new MachineClient({ shares: true }), { trace: new Trace(), log: SILENT });
  /** Process id of the first container's stub, once it is there. */
  stub: number | undefined;
  #folder: SocketFolder | undefined;
  #ready: Promise<string> | undefined;
  /** Those of the first container. Empty: the guest has the loopback interface alone. */
  networks: readonly InterfaceSpec[] = [];
  #sockets = 1;
  #containers = 0;
  #process = 0;
  /** Containers that are there, with one that is being made. */
  size = 0;

  /**
   * @param asked of the first container's configuration
   * @param hostname of the first container
   */
  constructor(
    readonly asked: OciMachine,
    readonly hostname: string,
  ) {}

  /** Has the first container's server listen. Returns the path of its socket. */
  async open(folder: SocketFolder, server: Server): Promise<string> {
    await listen(server, folder.control);
    await folder.publish();
    this.#folder = folder;
    return folder.control;
  }

  /**
   * Has the server of another container listen. Returns the path of its socket.
   * @throws OciError
   */
  async join(server: Server): Promise<string> {
    if (this.size > MOST) throw new OciError(`a machine has at most ${MOST} containers`);
    if (this.machine.state.name === 'frozen') throw new OciError('the machine of this network namespace is paused');
    const path = join(this.folder.path, `control-${this.#sockets++}`);
    await listen(server, path);
    return path;
  }

  /** @throws OciError before it is there */
  get folder(): SocketFolder {
    if (this.#folder === undefined) throw new OciError('there is no plan');
    return this.#folder;
  }

  /** An id of the agent's for a container. */
  nextContainer(): number {
    return ++this.#containers;
  }

  /** An id of the agent's for a process, which was never used. */
  nextProcess(): number {
    return ++this.#process;
  }

  /**
   * Waits for the guest, and sets it up once. Resolves to its kernel's release.
   * @throws SandboxError
   */
  ready(): Promise<string> {
    this.#ready ??= this.#setUp();
    return this.#ready;
  }

  async #setUp(): Promise<string> {
    const [network, ...moreNetworks] = this.networks;
    const kernel = await this.machine.hello();
    this.machine.setUp({ shares: true, network, moreNetworks });
    return kernel;
  }

  /** Ends the machine. */
  [Symbol.dispose](): void {
    this.machine[Symbol.dispose]();
    this.#folder?.[Symbol.dispose]();
  }
}

/**
 * The machine's namespaces that a container is in: those of the first one.
 * @param paths of those that it is to join
 * @param first process id of the first one's stub; undefined: it is the first one
 * @throws OciError for another one; Error of a system call
 */
export function joinedNamespaces(
  paths: Partial<Record<MachineNamespace, string>>,
  first: number | undefined,
): MachineNamespace[] {
  return NAMESPACES.filter((type) => {
    const path = paths[type];
    if (path === undefined) return first === undefined;
    if (first !== undefined && fileOf(path) === fileOf(`/proc/${first}/ns/${type}`)) return true;
    throw new OciError(`joining another container's ${type} namespace is not supported`);
  });
}

async function listen(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(path, resolve);
  });
}

/** Stops listening. */
export function closeServer(server: Server): void {
  const path = server.address();
  server.close();
  if (typeof path === 'string') rmSync(path, { force: true });
}

/** Device and inode. @throws Error of a system call */
function fileOf(path: string): string {
  const { dev, ino } = statSync(path, { bigint: true });
  return `${dev}:${ino}`;
}

/** Lets other containers find the machine. @param pid of the first one's stub */
export function announce(state: string, pid: number): void {
  const mounts = readlinkSync('/proc/self/ns/mnt');
  replaceFile(join(state, NETWORK), `${fileOf(`/proc/${pid}/ns/net`)} ${mounts}`);
}

/** The machine has ended: its namespace's number may be that of a new one. */
export function withdraw(state: string): void {
  rmSync(join(state, NETWORK), { force: true });
}

/**
 * Looks for the machine of a network namespace among the containers of the same engine.
 * @param state state folder of the container that is being created
 * @param network path of the namespace; undefined: a new one
 * @returns the socket of its first container; undefined if there is none
 * @throws OciError if it cannot be joined; Error of a system call
 */
export async function findPod(state: string, network: string | undefined): Promise<string | undefined> {
  if (network === undefined || !existsSync(network)) return undefined;
  const wanted = fileOf(network);
  const root = dirname(state);
  for (const name of readdirSync(root)) {
    const [found, mounts] = readText(join(root, name, NETWORK)).split(' ');
    const socket = join(root, name, 'keeper');
    if (found !== wanted || !existsSync(socket) || !(await isListening(socket))) continue;
    // It opens what the container shares by its paths.
    if (mounts === readlinkSync('/proc/self/ns/mnt')) return readlinkSync(socket);
    throw new OciError('the machine of this network namespace is in another mount namespace');
  }
  return undefined;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return '';
    throw error;
  }
}

/** A keeper that was killed leaves its socket. */
function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
