// The machine of the containers that are in one network namespace, as those of a pod are. The first
// container brings the machine, and the others join it. It ends with the last one of them.
import {
  type BigIntStats,
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { connect, type Server, type Socket } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { hasCode } from '../../errors/index.js';
import { type InterfaceSpec, type MachineNamespace, NAMESPACES } from '../../sandbox/agent/protocol.js';
import type { SocketFolder } from '../../sandbox/home/socket-folder.js';
import { SILENT } from '../../sandbox/log.js';
import { MachineClient } from '../../sandbox/machine/machine-client.js';
import type { GuestProcess } from '../../sandbox/run/guest-container.js';
import { GuestMachine } from '../../sandbox/run/guest-machine.js';
import { Trace } from '../../sandbox/run/trace.js';
import { openLoopback } from '../../vmm/outside/loopback.js';
import type { OciMachine } from '../config/machine.js';
import { OciError } from '../config/oci-error.js';
import { NOT_RUNNING } from './guest-state.js';
import type { HostCgroup } from './host-cgroup.js';
import { PortForward } from './port-forward.js';
import { replaceFile } from './state-folder.js';

/** The file of a container's state folder by which others find the machine. */
const NETWORK = 'network';
/** Containers of a machine: the agent's most, without those that are being removed. */
const MOST = 60;
/** `f_type` of statfs(2): TMPFS_MAGIC. */
const TMPFS = 0x01021994;

/** Processes in the host's namespaces. */
const HOST = ['self', '1'];
const NO_SUCH_PID_NAMESPACE = 'joining the pid namespace of what is not in the same machine is not supported';

/** A container of the machine, until it is deleted. */
export interface PodMember {
  /** Undefined: it is not made yet. */
  readonly cgroup: HostCgroup | undefined;
  /** It may still have processes. */
  readonly isLive: boolean;
  /** The agent's id of the container. */
  readonly id: number;
  /**
   * A descriptor of the pid namespace of its stub, which stands for its own; undefined: there is no
   * stub yet.
   */
  readonly pidNamespace: number | undefined;
  /** It has processes. */
  readonly isRunning: boolean;
  /**
   * Starts a tool that is connected with a port of the guest's loopback interface.
   * @returns undefined if the container cannot have one now
   */
  connect(port: number): GuestProcess | undefined;
}

export class Pod {
  readonly machine = new GuestMachine(new MachineClient({ shares: true }), { trace: new Trace(), log: SILENT });
  /** Descriptors of the namespaces of the first container's stub, which others may join. */
  namespaces: Partial<Record<MachineNamespace, number>> = {};
  /** Boots the machine with the network of a namespace. */
  onBoot: ((namespace: string) => void) | undefined;
  /** A descriptor of the network namespace, until the machine is booted. */
  #network: number | undefined;
  readonly #members = new Set<PodMember>();
  /** The cgroup of the host that the machine and this process are in. */
  #cgroup: HostCgroup | undefined;
  #folder: SocketFolder | undefined;
  #ready: Promise<string> | undefined;
  /** Those of the first container. Empty: the guest has the loopback interface alone. */
  networks: readonly InterfaceSpec[] = [];
  #sockets = 1;
  #connections = 0;
  #containers = 0;
  #process = 0;

  /**
   * @param asked of the first container's configuration
   * @param hostname of the first container
   * @param shmSize of its /dev/shm, which others may share
   */
  constructor(
    readonly asked: OciMachine,
    readonly hostname: string,
    readonly shmSize: number,
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
    if (this.#members.size > MOST) throw new OciError(`a machine has at most ${MOST} containers`);
    const path = join(this.folder.path, `control-${this.#sockets++}`);
    await listen(server, path);
    return path;
  }

  /** @param member one that is being made; the first one's cgroup has this process */
  add(member: PodMember): void {
    this.#cgroup ??= member.cgroup;
    this.#members.add(member);
  }

  /** @returns whether there is none any more */
  remove(member: PodMember): boolean {
    this.#members.delete(member);
    try {
      this.leaveCgroup(member);
    } catch {
      // The cgroup stays as long as the machine.
    }
    return this.#members.size === 0;
  }

  get #isIdle(): boolean {
    return ![...this.#members].some(({ isLive }) => isLive);
  }

  get members(): readonly PodMember[] {
    return [...this.#members];
  }

  /** Ends the machine if no member has processes any more. @returns whether that is so */
  endIfIdle(): boolean {
    const isIdle = this.#isIdle;
    if (isIdle) {
      this.machine[Symbol.dispose]();
      // The last connection may have been its stub's.
      void this.#exitIfUnused();
    }
    return isIdle;
  }

  /** Keeps this process as long as a command or a stub is connected. */
  hold(socket: Socket): void {
    this.#connections++;
    socket.once('close', () => {
      this.#connections--;
      void this.#exitIfUnused();
    });
  }

  /**
   * Ends this process, which containers that have ended do not need. An engine may never delete
   * them.
   */
  async #exitIfUnused(): Promise<void> {
    const isUnused = () => this.#connections === 0 && this.#isIdle;
    if (!isUnused()) return;
    await this.machine.gone;
    if (!isUnused()) return;
    this[Symbol.dispose]();
    process.exit(0);
  }

  /**
   * Takes the machine and this process out of the cgroup of a member, if they are in it, into
   * another's.
   */
  leaveCgroup(member: PodMember, stays?: number): void {
    if (member.cgroup === undefined || this.#cgroup !== member.cgroup) return;
    const others = [...this.#members].filter((each) => each !== member && each.cgroup !== undefined);
    const { cgroup } = others.find(({ isLive }) => isLive) ?? others[0] ?? {};
    if (cgroup === undefined) return;
    member.cgroup.moveTo(cgroup, stays);
    this.#cgroup = cgroup;
  }

  /**
   * @param pid of the first container's stub
   * @param paths of those that the engine has made for the pod, in which the stub is not
   */
  keepNamespaces(pid: number, paths: Partial<Record<MachineNamespace, string>> = {}): void {
    // Its number may be another process's later.
    for (const type of NAMESPACES) this.namespaces[type] = openSync(paths[type] ?? `/proc/${pid}/ns/${type}`, 'r');
    this.#network = openSync(`/proc/${pid}/ns/net`, 'r');
  }

  /**
   * Boots the machine at the first start of a container, with the network that was made since.
   * @throws OciError
   */
  boot(): void {
    const namespace = this.#network;
    const isWaiting = this.machine.state.name === 'listening';
    if (namespace === undefined && isWaiting) throw new OciError('the container is not created');
    if (namespace === undefined) return;
    // If it fails, the start of another container finds the same.
    if (isWaiting) this.onBoot?.(`/proc/self/fd/${namespace}`);
    this.#network = undefined;
    closeSync(namespace);
  }

  /** @throws OciError before it is there */
  get folder(): SocketFolder {
    if (this.#folder === undefined) throw new OciError('there is no plan');
    return this.#folder;
  }

  /**
   * Has the loopback ports of the network namespace lead to those of the guest, as long as the
   * machine runs. Where the host's kernel cannot, there is nothing there.
   * @param isNew it was made for this machine
   * @throws MachineError
   */
  forward(namespace: string, isNew: boolean): void {
    const loopback = openLoopback(namespace, isNew);
    if (loopback === undefined) return;
    const forward = new PortForward(loopback, (port) => this.#connect(port));
    this.machine.lost.catch(() => forward[Symbol.dispose]());
  }

  /** All containers have the guest's loopback interface. @throws OciError if none can reach it */
  #connect(port: number): GuestProcess {
    for (const member of this.#members) {
      const tool = member.connect(port);
      if (tool !== undefined) return tool;
    }
    throw new OciError(NOT_RUNNING);
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
 * The machine's namespaces that a container is in: those of the first one. Some engines make them
 * for the pod, before any container, and keep them by files: they are the first one's, too.
 * @param paths of those that it is to join
 * @param first descriptors of the first one's; undefined: it is the first one
 * @throws OciError for another one; Error of a system call
 */
export function joinedNamespaces(
  paths: Partial<Record<MachineNamespace, string>>,
  first: Partial<Record<MachineNamespace, number>> | undefined,
): MachineNamespace[] {
  return NAMESPACES.filter((type) => {
    const path = paths[type];
    if (path === undefined) return first === undefined;
    const own = first?.[type];
    if (own !== undefined && fileOf(path) === idOf(fstatSync(own, { bigint: true }))) return true;
    // By a process, engines name that of another container.
    if (first !== undefined || resolve(path).startsWith('/proc/')) {
      throw new OciError(`joining another container's ${type} namespace is not supported`);
    }
    if (!HOST.some((process) => fileOf(path) === fileOf(`/proc/${process}/ns/${type}`))) return true;
    throw new OciError(`the host's ${type} namespace is not supported`);
  });
}

/**
 * The container whose pid namespace another one joins.
 * @param path of the namespace
 * @param members of the machine
 * @throws OciError if none of them has it; Error of a system call
 */
export function ownerOf(path: string, members: readonly PodMember[]): PodMember {
  const wanted = fileOf(path);
  const found = members.find(({ pidNamespace: fd }) => {
    return fd !== undefined && idOf(fstatSync(fd, { bigint: true })) === wanted;
  });
  if (found === undefined) throw new OciError(NO_SUCH_PID_NAMESPACE);
  return found;
}

/**
 * Bytes of a file system of the host that stands for that of a container.
 * @throws Error of a system call
 */
export function tmpfsSize(path: string): number | undefined {
  const { type, blocks, bsize } = statfsSync(path);
  return type === TMPFS && blocks > 0 ? blocks * bsize : undefined;
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
  return idOf(statSync(path, { bigint: true }));
}

function idOf({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`;
}

/** Those by which a path, and the number of a process, mean the same to two processes. */
function ownNamespaces(): string {
  return ['mnt', 'pid'].map((type) => readlinkSync(`/proc/self/ns/${type}`)).join(' ');
}

/** Lets other containers find the machine. @param pid of a container's stub */
export function announce(state: string, pid: number): void {
  replaceFile(join(state, NETWORK), `${fileOf(`/proc/${pid}/ns/net`)} ${ownNamespaces()}`);
}

/** The machine has ended: its namespace's number may be that of a new one. */
export function withdraw(state: string): void {
  rmSync(join(state, NETWORK), { force: true });
}

/**
 * Looks for the machine of a network namespace among the containers of the same engine.
 * @param state state folder of the container that is being created
 * @param network path of the namespace; undefined: a new one
 * @returns the socket of one of its containers; undefined if there is none
 * @throws OciError if it cannot be joined; Error of a system call
 */
export async function findPod(state: string, network: string | undefined): Promise<string | undefined> {
  if (network === undefined || !existsSync(network)) return undefined;
  const wanted = fileOf(network);
  const root = dirname(state);
  for (const name of readdirSync(root)) {
    const [found, ...namespaces] = readText(join(root, name, NETWORK)).split(' ');
    const socket = join(root, name, 'keeper');
    if (found !== wanted || !existsSync(socket) || !(await isListening(socket))) continue;
    // It opens what the container shares by its paths, and finds its processes by their numbers.
    if (namespaces.join(' ') === ownNamespaces()) return readlinkSync(socket);
    throw new OciError('the machine of this network namespace is in another mount or pid namespace');
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
