// What a machine needs from the host, in the hands of its owner. The machine process opens no path
// of the host and makes no socket of its network: it gets descriptors.
import { constants, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../../errors/index.js';
import * as libc from '../../vmm/host/libc.js';
import {
  type Accelerator,
  backEndName,
  type ConnectRequest,
  countName,
  type EgressPort,
  type FoundMembers,
  fileName,
  linkName,
  listenerName,
  MachineError,
  type MachineErrorCode,
  type MachineSpec,
  type NetworkSpec,
  type PeerNetwork,
  type PortRequest,
  type ProbeResult,
  type PublishedPorts,
  type PublishedSocket,
  publishedName,
  qemuNetSocket,
  type RelaySpec,
  ROUTE_SOCKET,
  shareName,
  umlSocket,
} from '../../vmm/machine.js';
import { checkSpec } from '../../vmm/outside/check-spec.js';
import { type Answer, type AnswerChannel, Connector } from '../../vmm/outside/connector.js';
import { publishPorts } from '../../vmm/outside/host-ports.js';
import { MadeLinks } from '../../vmm/outside/made-links.js';
import { enterNetwork, leaveNetwork } from '../../vmm/outside/network-folder.js';
import { openRouteSocket } from '../../vmm/outside/route-socket.js';
import { openTap } from '../../vmm/outside/tap-interface.js';
import { openWire } from '../../vmm/outside/wire.js';
import type { MachineCgroup } from '../cgroup/machine-cgroup.js';
import { boundWithoutCgroup } from '../cgroup/without.js';
import type { JailMode } from '../jail-mode.js';
import type { Companion } from './companion.js';
import { readyEmulator } from './emulator.js';
import type { SharedFile } from './jail.js';
import { MachineFiles } from './machine-files.js';
import { keepOnOneProcessor } from './one-processor.js';
import { listen, open } from './open-files.js';
import { canOpenKvm } from './open-kvm.js';
import { storedProbe, storeProbe } from './probe-cache.js';
import { readyUml } from './uml.js';

export { canPing } from '../../vmm/outside/connected-socket.js';

/** The most connections that wait for the machine to accept them. */
const VSOCK_BACKLOG = 128;

/** What {@link MachineOutside} tells the machine process. */
export interface OutsideEvents {
  /** True if the machine process has read all that it was sent. */
  isRead(): boolean;
  /** The machine's sockets, which stay the caller's. Returns false if they cannot be sent now. */
  onAnswer(answer: Answer, sockets: readonly number[]): boolean;
}

export interface OutsideOptions {
  /** Path of the file with the result of the KVM probe. Absent: the machine probes. */
  probeCache?: string | undefined;
  /** Default: `auto`. */
  jail?: JailMode | undefined;
  /** Why the machine is not User-Mode Linux, for the report of a host that has no emulator either. */
  noUml?: string | undefined;
  /** The cgroup of the machine. The caller removes it. */
  cgroup?: MachineCgroup | undefined;
  /** The proxy of placeholders of secrets. */
  egress?: EgressPort | undefined;
  /** Called with the reason if the memory of the machine's processes has no limit. */
  onUnbounded?: ((reason: string) => void) | undefined;
}

/**
 * Everything that was opened and started for one machine. Disposing of it ends what runs, and
 * removes the sockets that it made.
 */
export class MachineOutside implements Disposable {
  /** For the machine. Without the network, if that is optional and failed. */
  readonly spec: MachineSpec;
  /** What the spec needs. The caller sends it. */
  readonly files = new MachineFiles();
  /** The shares. Their descriptors are among the files. */
  readonly shares: readonly SharedFile[];
  readonly jail: JailMode | undefined;
  readonly #cgroup: MachineCgroup | undefined;
  readonly #onUnbounded: (reason: string) => void;
  readonly #egress: EgressPort | undefined;
  /** Why an optional network failed. */
  readonly networkFailure: string | undefined;
  /** What runs the guest where KVM may not. Undefined: nothing does. */
  readonly companion: Companion | undefined;
  events: OutsideEvents | undefined;
  /** The published ports, each with its address. */
  published: readonly PublishedPorts[] = [];
  #connector: Connector;
  /** In `files`. */
  readonly #sockets: PublishedSocket[] = [];
  /** By folder. */
  readonly #joined = new Map<string, { network: PeerNetwork; found: FoundMembers; made: MadeLinks }>();
  readonly #address: string | undefined;
  readonly #probeCache: string | undefined;

  /**
   * Opens what the spec names.
   * @param shares descriptors of the spec's shares, and then of the counts of those with a budget,
   *   owned from now on
   * @throws MachineError
   */
  constructor(spec: MachineSpec, shares: readonly number[], options: OutsideOptions = {}) {
    const { probeCache, jail, noUml, cgroup, egress, onUnbounded = () => {} } = options;
    this.#egress = egress;
    const budgets = (spec.shares ?? []).flatMap(({ budget }, index) => (budget === undefined ? [] : [index]));
    const opened = shares.slice(0, shares.length - budgets.length);
    this.shares = opened.map((fd, index) => ({ fd, isReadOnly: spec.shares?.[index]?.readOnly === true }));
    this.jail = jail;
    this.#cgroup = cgroup;
    this.#onUnbounded = onUnbounded;
    this.#probeCache = probeCache;
    for (const [index, { fd, isReadOnly }] of this.shares.entries()) {
      this.files.addTree(shareName(index), fd, isReadOnly);
    }
    for (const [index, fd] of shares.slice(this.shares.length).entries()) {
      this.files.add(countName(budgets[index] ?? index), fd);
    }
    this.#address = spec.network?.addresses[0];
    this.#connector = new Connector(spec.vsock.path, undefined, this.#channel());
    try {
      checkSpec(spec);
      this.#openFiles(spec);
      this.networkFailure =
        spec.network === undefined ? undefined : this.#openNetwork(spec.network, spec.wires ?? [], spec.vsock.path);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    const { network, ...others } = spec;
    const tscKhz = spec.tscKhz ?? readTscKhz();
    const probe = spec.probe ?? (probeCache === undefined ? undefined : storedProbe(probeCache));
    const machine = {
      ...others,
      ...(probe === undefined ? {} : { probe }),
      ...(tscKhz === undefined ? {} : { tscKhz }),
      ...(network === undefined || this.networkFailure !== undefined ? {} : { network: this.#withOpened(network) }),
    };
    let noEmulator: string | undefined;
    try {
      if (machine.accel === 'uml') this.companion = readyUml(machine, this.files, jail !== 'off');
      else if (mayEmulate(machine)) {
        this.companion = readyEmulator(machine, this.files, { isJailed: jail !== 'off' });
      } else noEmulator = 'KVM was usable before';
    } catch (error) {
      if (!(error instanceof MachineError && error.code === 'no-accelerator')) {
        this[Symbol.dispose]();
        throw error;
      }
      noEmulator = noUml === undefined ? error.message : `${error.message}; nor is User-Mode Linux: ${noUml}`;
    }
    this.spec = noEmulator === undefined ? machine : { ...machine, noEmulator };
  }

  /** With what was opened and found for it. */
  #withOpened({ backEnd, peers, ...network }: NetworkSpec): NetworkSpec {
    const published = this.#sockets;
    return {
      ...network,
      ...(peers === undefined ? {} : { peers: peers.map((peer) => this.#withFound(peer)) }),
      backEnd: backEnd.kind === 'relay' ? { ...backEnd, published } : backEnd,
    };
  }

  #withFound(network: PeerNetwork): PeerNetwork {
    const found = this.#joined.get(network.folder)?.found;
    return found === undefined ? network : { ...network, found };
  }

  #openFiles({ kernel, initramfs, modules, disks, vsock }: MachineSpec): void {
    this.#openBootFile('kernel', kernel, 'bad-kernel');
    this.#openBootFile('initramfs', initramfs, 'bad-spec');
    if (modules !== undefined) this.#openBootFile('modules', modules, 'bad-spec');
    const names = new Set<string>();
    for (const { readOnly, extents } of disks) {
      for (const { path } of extents) {
        const name = fileName(path, readOnly);
        if (names.has(name)) continue;
        names.add(name);
        this.files.add(name, open(path, readOnly ? constants.O_RDONLY : constants.O_RDWR, 'cannot open disk file'));
      }
    }
    this.files.add(listenerName(vsock.path), listen(vsock.path, 'vsock socket', VSOCK_BACKLOG));
  }

  #openBootFile(what: string, path: string, code: MachineErrorCode): void {
    if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) {
      throw new MachineError(code, `${what}: no such file: ${path}`);
    }
    // Non-blocking: opening a FIFO would wait for a writer.
    this.files.add(fileName(path, true), open(path, constants.O_RDONLY | constants.O_NONBLOCK, what, code));
  }

  /** Returns the reason if an optional network failed. @throws MachineError */
  #openNetwork(spec: NetworkSpec, wires: readonly NetworkSpec[], vsockPath: string): string | undefined {
    const { backEnd } = spec;
    using files = new MachineFiles();
    try {
      if (backEnd.kind === 'tap') files.add(backEndName(0), openTap(backEnd.interface));
      for (const [index, wire] of [spec, ...wires].entries()) {
        if (wire.backEnd.kind === 'wire') files.add(backEndName(index), openWire(wire.backEnd));
      }
      if (backEnd.kind === 'relay') {
        this.#connector[Symbol.dispose]();
        this.#connector = new Connector(vsockPath, { spec, backEnd, egress: this.#egress }, this.#channel());
        this.#publish(spec, backEnd, files);
      }
      for (const network of spec.peers ?? []) this.#enter(network, files);
    } catch (error) {
      if (!spec.optional || !(error instanceof MachineError)) throw error;
      this.#closeNetwork();
      this.#connector = new Connector(vsockPath, undefined, this.#channel());
      return error.message;
    }
    if (backEnd.kind !== 'wire') files.add(ROUTE_SOCKET, openRouteSocket());
    this.files.take(files);
    return undefined;
  }

  #channel(): AnswerChannel {
    const events = () => this.events;
    return {
      get isRead() {
        return events()?.isRead() ?? false;
      },
      send: (answer, sockets) => events()?.onAnswer(answer, sockets) ?? false,
    };
  }

  /** Connects for the machine. @throws RangeError for more than a machine process asks for */
  connect(asked: readonly (ConnectRequest | PortRequest)[]): void {
    this.#connector.ask(asked);
  }

  /** Tells which datagrams have come to a published port. @throws RangeError for another's */
  arrivals(published: number): void {
    this.#connector.arrivals(published);
  }

  /** Binds the published ports. The sockets of UDP are the connector's and the machine's. */
  #publish(spec: NetworkSpec, backEnd: RelaySpec, files: MachineFiles): void {
    using ports = publishPorts(spec, backEnd);
    this.published = ports.bound;
    for (const { fd, protocol, guest } of ports.take()) {
      const index = this.#sockets.push({ protocol, guest }) - 1;
      files.add(publishedName(index), fd);
      if (protocol !== 'udp') continue;
      this.#connector.publish(index, libc.check(libc.fcntl(fd, libc.F_DUPFD_CLOEXEC, 0), 'fcntl'));
    }
  }

  #enter(network: PeerNetwork, files: MachineFiles): void {
    const { folder, name } = network;
    if (this.#joined.has(folder)) return;
    const address = this.#address;
    if (address === undefined) throw new MachineError('bad-spec', 'a guest in private networks needs an address');
    try {
      const { listener, links, names } = enterNetwork(network, address);
      files.add(listenerName(join(folder, address)), listener);
      for (const [member, { fd }] of links) files.add(linkName(folder, member), fd);
      const made = new MadeLinks(folder, links);
      this.#joined.set(folder, { network, found: { members: [...links.keys()], names }, made });
    } catch (cause) {
      throw new MachineError('no-network', `cannot join network ${name}: ${messageOf(cause)}`, { cause });
    }
  }

  /**
   * Makes the guest a member of a private network.
   * @returns what the machine needs to join it, and what it is told
   * @throws MachineError `no-network` if another member has the address, or the folder is unusable
   */
  enter(network: PeerNetwork): { files: MachineFiles; network: PeerNetwork } {
    const files = new MachineFiles();
    try {
      this.#enter(network, files);
      return { files, network: this.#withFound(network) };
    } catch (error) {
      files[Symbol.dispose]();
      this.leave(network.folder);
      throw error;
    }
  }

  /** Removes the guest from a private network, if it is a member, and ends its connections there. */
  leave(folder: string): void {
    const joined = this.#joined.get(folder);
    if (joined === undefined || this.#address === undefined) return;
    this.#joined.delete(folder);
    joined.made[Symbol.dispose]();
    leaveNetwork(joined.network, this.#address);
  }

  /** The machine has probed KVM. */
  kvmProbed(result: ProbeResult): void {
    if (this.#probeCache !== undefined) storeProbe(this.#probeCache, result);
  }

  /** The machine has opened all that the spec names, and runs on this. */
  booted(accel: Accelerator): void {
    const { vsock, wires = [] } = this.spec;
    const sockets = [
      umlSocket(vsock.path),
      ...[undefined, ...wires].map((_, index) => qemuNetSocket(vsock.path, index)),
    ];
    for (const socket of sockets) rmSync(socket, { force: true });
    if (accel === 'kvm') this.companion?.kill();
    if (accel === 'uml' && this.companion !== undefined) void keepOnOneProcessor(this.companion);
  }

  /**
   * Bounds the machine process and its companion, before they do anything for a guest.
   * @param machine process IDs, which its launcher has told: /proc may hide what is below one
   * @param uid the user of the machine process, if it has one of its own
   * @throws SandboxError `cgroup`
   */
  async bound(machine: readonly number[], uid: number | undefined): Promise<void> {
    // Its launcher has started the last process of its own.
    const report = await this.companion?.report;
    const companion = this.companion?.pids ?? [];
    const all = [...machine, ...companion];
    if (all.length === 0 || (await this.#cgroup?.add(all))) return;
    try {
      const { cpus, memory, isSaved } = this.spec;
      await boundWithoutCgroup(machine, { cpus, memory: isSaved ? memory : 0, uid });
      await boundWithoutCgroup(companion, { cpus, uid: report?.uid });
    } catch (error) {
      this.#onUnbounded(`the memory of the machine's processes has no limit: ${messageOf(error)}`);
    }
  }

  /** Why the kernel ended the machine, if it did for lack of memory. */
  outOfMemory(): string | undefined {
    return this.#cgroup?.outOfMemory();
  }

  #closeNetwork(): void {
    for (const folder of [...this.#joined.keys()]) this.leave(folder);
    this.#connector[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.events = undefined;
    this.files[Symbol.dispose]();
    this.companion?.[Symbol.dispose]();
    this.#closeNetwork();
  }
}

/** True unless it is certain that the machine is on KVM. */
function mayEmulate({ accel, probe }: MachineSpec): boolean {
  return accel === 'tcg' || (accel === 'auto' && !(probe?.usable === true && canOpenKvm()));
}

/** The kernel derives BogoMIPS from the frequency of the time stamp counter. */
export function readTscKhz(): number | undefined {
  const bogoMips = /^bogomips\s*:\s*([\d.]+)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1];
  return bogoMips === undefined ? undefined : Math.round(Number(bogoMips) * 500);
}
