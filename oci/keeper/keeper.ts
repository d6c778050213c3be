// One container of a machine: what the command `tsvm-oci` asks for, and what the stub is told.
import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { O_PATH } from '../../libc/openat2.js';
import type { ContainerSetup, ExitedFrame, MachineNamespace, ProcessSpec } from '../../sandbox/agent/protocol.js';
import { defer } from '../../sandbox/deferred.js';
import { defined } from '../../sandbox/defined.js';
import { Home } from '../../sandbox/home/home.js';
import { openRuntimeFolder, portSocket, SocketFolder } from '../../sandbox/home/socket-folder.js';
import { defaultJailMode } from '../../sandbox/jail-mode.js';
import { MachineOutside } from '../../sandbox/machine/outside.js';
import { systemCallFilter } from '../../sandbox/machine/system-calls.js';
import { INITRAMFS } from '../../sandbox/programs.js';
import type { GuestContainer, GuestProcess } from '../../sandbox/run/guest-container.js';
import { type GuestMachine, sleep } from '../../sandbox/run/guest-machine.js';
import { findKernel } from '../../sandbox/run/kernel.js';
import { machineFor } from '../../sandbox/run/machine-choice.js';
import { GUEST_CID, wholePages } from '../../sandbox/run/machine-spec.js';
import { seccompFilter } from '../../sandbox/spec/limits.js';
import type { LaterShare } from '../../vmm/machine.js';
import { type OciConfig, type OciProcess, readConfig } from '../config/config.js';
import { readCreate } from '../config/create.js';
import { readEvents } from '../config/events.js';
import { readExec } from '../config/exec.js';
import { machineResources, type OciMachine, readMachine } from '../config/machine.js';
import { engineText, OciError } from '../config/oci-error.js';
import { cgroupOf, readScope, type Scope } from '../config/scope.js';
import { NO_PROCESS, type SharedPath, type Translation, translate, translateProcess } from '../config/translate.js';
import { readUpdate, updatedLimits } from '../config/update.js';
import { tellEvents } from './events.js';
import { GuestState, NOT_RUNNING } from './guest-state.js';
import { askTool } from './guest-tool.js';
import { hasCreateHooks, keepPoststop, runCreateHooks, runHooksToTheEnd, startHooks } from './hooks.js';
import { cpusOf, HostCgroup, type HostLimits, hostLimits, memoryAbove } from './host-cgroup.js';
import { readLines } from './lines.js';
import { type ContainerNetwork, readNetwork } from './network.js';
import { closeAll, openAgain, openAll } from './opened.js';
import { announce, closeServer, joinedNamespaces, ownerOf, Pod, type PodMember, tmpfsSize, withdraw } from './pod.js';
import { checkProgram } from './program.js';
import { type ContainerState, replaceFile } from './state-folder.js';
import { parseStatistics } from './statistics.js';
import { LOST, StubbedProcess } from './stubbed-process.js';

/** A process's streams come to this vsock port and its id, where its stub listens. */
const STREAMS_PORT = 1024;
const CPUS = 1;
/** Bytes of /dev/shm. */
const SHM_SIZE = 64 * 2 ** 20;
const NO_PROCESSES = 'the container whose pid namespace it joins is not running';
/** Milliseconds for the last output to reach the stub. */
const OUTPUT_TIMEOUT = 30_000;
/** Milliseconds for the guest to end and remove a container that is deleted. */
const END_TIMEOUT = 5000;

/** What a container is made of. */
interface Made {
  /** The engine's name of the container. */
  name: string;
  /** Absolute path of the bundle. */
  bundle: string;
  /** Absolute path of the state folder. */
  state: string;
  /** The engine's cgroups are scopes of systemd. */
  systemd: boolean;
  /** The machine that it joins, and the process id of the caller; undefined: it brings one. */
  joins?: { pod: Pod; caller: number };
}

export class Keeper implements PodMember {
  readonly #pod: Pod;
  readonly #machine: GuestMachine;
  readonly #server: Server = createServer((socket) => this.#serve(socket));
  readonly #config: OciConfig;
  readonly #translation: Translation;
  /** The scope of systemd that it is to be in; undefined: the engine has no systemd driver. */
  readonly #scope: Scope | undefined;
  /** Of its cgroup on the host. */
  readonly #limits: HostLimits;
  readonly #shmSize: number;
  /** What the configuration asks of the machine. */
  readonly #asked: OciMachine;
  /** It brings the machine. */
  readonly #isFirst: boolean;
  readonly #joined: MachineNamespace[];
  /** Whose pid namespace it joins. */
  readonly #processesOf: PodMember | undefined;
  readonly id: number;
  /** The agent's id of the first process. */
  readonly #firstProcess: number;
  pidNamespace: number | undefined;
  /** What the machine is to serve of another container than the first, until it does. */
  #opened: number[] = [];
  /** The machine's indexes of the shares that it serves for this container. */
  #shares: number[] = [];
  /** The agent was asked to make it. */
  #isMade = false;
  #over: Promise<void> | undefined;
  #first: StubbedProcess | undefined;
  /** Once the first process runs, until it ends. */
  #running: { container: GuestContainer; seccomp: ProcessSpec['seccomp'] } | undefined;
  #isStarted = false;
  #isCreated = false;
  #isOver = false;
  readonly #guest: GuestState;
  /** Starts of further processes that are not over. */
  readonly #starts = new Set<Promise<void>>();
  #pid: number | undefined;
  readonly #ending = new AbortController();
  readonly #ended = defer<ExitedFrame | undefined>();

  private constructor(
    private readonly name: string,
    private readonly bundle: string,
    private readonly state: string,
    { config, translation, asked, limits, scope }: Read,
    public cgroup: HostCgroup | undefined,
    pod?: Pod,
  ) {
    this.#config = config;
    this.#translation = translation;
    this.#asked = asked;
    this.#limits = limits;
    this.#scope = scope;
    this.#guest = new GuestState((argv, onFailed) => this.#tool(argv, onFailed), translation.container.limits ?? {});
    this.#isFirst = pod === undefined;
    this.#joined = joinedNamespaces(translation.joined, pod?.namespaces);
    const { processesOf } = translation;
    this.#processesOf = processesOf === undefined ? undefined : ownerOf(processesOf, pod?.members ?? []);
    const { container, shm } = translation;
    this.#shmSize = (typeof shm === 'string' ? tmpfsSize(shm) : shm?.size) ?? SHM_SIZE;
    this.#pod = pod ?? new Pod(asked, container.hostname, this.#shmSize);
    this.#pod.add(this);
    this.#machine = this.#pod.machine;
    this.id = this.#pod.nextContainer();
    this.#firstProcess = this.#pod.nextProcess();
    this.#machine.lost.catch(() => {
      withdraw(state);
      this.#first?.exit(LOST);
    });
  }

  /** @throws OciError, SandboxError */
  static async make({ name, bundle, state, systemd, joins }: Made): Promise<Keeper> {
    const read = readContainer(bundle, name, { systemd, asked: joins?.pod.asked });
    const { config, limits, scope } = read;
    let cgroup: HostCgroup | undefined;
    if (scope === undefined) {
      const path = config.linux.cgroupsPath ?? undefined;
      const caller = joins && { caller: joins.caller };
      cgroup = HostCgroup.make(path, limits, { state, enters: joins === undefined, ...caller });
    } else if (joins === undefined) {
      // The processes of the machine are in it from their start.
      cgroup = await HostCgroup.start(scope, limits, { state, name });
    }
    return new Keeper(name, bundle, state, read, cgroup, joins?.pod);
  }

  get isLive(): boolean {
    return !this.#isOver;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /**
   * Makes the container for a caller, which carries the plan out. One that dies before it exists
   * leaves nothing.
   */
  async create(caller: Socket, hasConsole: boolean): Promise<void> {
    caller.on('close', () => {
      if (!this.#isCreated) void this.end();
    });
    if (this.#isFirst) this.#pod.hold(caller);
    const plan = await this.#plan(hasConsole);
    caller.write([...plan, 'done', ''].join('\n'));
  }

  /** Takes a line of that caller: `scope`, `hooks` or `created`, with the process id of the stub. */
  async hear(caller: Socket, line: string): Promise<void> {
    const [word, pid] = line.split(' ');
    try {
      if (word === 'scope') await this.#startScope(Number(pid));
      else if (word === 'hooks') await this.#runHooks(Number(pid));
      else if (word === 'created') this.#created(Number(pid));
      caller.write('ok\n');
    } catch (error) {
      caller.write(`error ${engineText(error)}\n`);
    }
  }

  /** Makes the machine ready to boot. Resolves to what the stub has to be, in lines. */
  async #plan(hasConsole: boolean): Promise<string[]> {
    const { network, shares, container } = this.#translation;
    checkConsole(this.#config.process ?? NO_PROCESS, hasConsole);
    const home = new Home();
    const control = this.#isFirst
      ? await this.#pod.open(
          await SocketFolder.make(randomBytes(6).toString('hex'), openRuntimeFolder(home.runtime)),
          this.#server,
        )
      : await this.#pod.join(this.#server);
    const { folder } = this.#pod;
    const link = join(this.state, 'keeper');
    symlinkSync(control, `${link}.new`);
    renameSync(`${link}.new`, link);
    const { poststop } = this.#config.hooks ?? {};
    if (poststop?.length) keepPoststop(this.state, poststop, this.#state('stopped'));
    const hasHooks = hasCreateHooks(this.#config.hooks ?? {});
    // Hooks may change what the machine serves.
    if (!hasHooks) await this.#serveFiles(home, network);
    const lines = [
      ...(this.cgroup?.paths.map((path) => `cgroup ${path}`) ?? ['scope']),
      `root ${shares[0]?.path}`,
      `hostname ${container.hostname}`,
      `streams ${portSocket(folder.path, STREAMS_PORT + this.#firstProcess)}`,
      `control ${control}`,
      ...(network === undefined ? [] : [`network ${network}`]),
      ...(this.#config.process?.terminal ? ['terminal'] : []),
      ...(hasHooks ? ['hooks'] : []),
    ];
    if (lines.some((line) => line.includes('\n'))) throw new OciError('config.json: a line end in a path');
    return lines;
  }

  /** systemd starts a scope with the stub, which waits. @throws SandboxError, OciError */
  async #startScope(pid: number): Promise<void> {
    if (this.#scope === undefined || this.cgroup !== undefined) throw new OciError('the plan has no scope');
    this.cgroup = await HostCgroup.start(this.#scope, this.#limits, { state: this.state, name: this.name, pid });
  }

  /** The stub waits before its root. @throws OciError if a hook fails */
  async #runHooks(pid: number): Promise<void> {
    const [root] = this.#translation.shares;
    if (root === undefined) throw new OciError('there is no plan');
    const { signal } = this.#ending;
    await runCreateHooks(this.#config.hooks ?? {}, this.#state('creating', pid), { root: root.path, signal });
    await this.#serveFiles(new Home(), `/proc/${pid}/ns/net`);
  }

  /** The machine serves what the container shares: it is booted with that, or given it. */
  async #serveFiles(home: Home, namespace: string | undefined): Promise<void> {
    if (this.#isFirst) {
      await this.#prepare(home, this.#pod.folder, namespace);
      return;
    }
    this.#opened = this.#openShares();
  }

  /** The machine serves what another container than the first shares. @throws SandboxError */
  async #share(): Promise<void> {
    const opened = this.#opened;
    this.#opened = [];
    const { shares } = this.#translation;
    const first = await this.#machine.share(shares.map(shareOf), opened);
    this.#shares = shares.map((_, index) => first + index);
  }

  /** @throws OciError; Error of a system call */
  #openShares(): number[] {
    const opened = openShares(this.#translation.shares);
    try {
      if (this.#config.process !== undefined) checkProgram(this.#translation, opened);
      return opened;
    } catch (error) {
      closeAll(opened);
      throw error;
    }
  }

  /**
   * Boots the machine if its network is there. Otherwise `start` does: some engines make it in between, and a
   * network device cannot come later.
   * @param namespace path of the network namespace; undefined: a new one, in which nothing was made
   */
  async #prepare(home: Home, folder: SocketFolder, namespace: string | undefined): Promise<void> {
    const network = namespace === undefined ? undefined : this.#readNetwork(namespace);
    const opened = this.#openShares();
    const jail = defaultJailMode();
    const systemCalls = systemCallFilter(jail);
    const choice = await this.#machine.whileAlive(
      machineFor({
        spec: { accel: this.#asked.accel },
        isSaved: false,
        jailMode: jail,
        jail: async () => {
          const report = await this.#machine.firstJail;
          return report && { ...report, seccomp: systemCalls };
        },
        probeCache: home.probeCache,
      }),
    );
    const { accel } = choice;
    const kernel = await findKernel({ accel });
    await this.#machine.listen(folder.agentSocket);
    const { shares } = this.#translation;
    const boot = (network: ContainerNetwork | undefined, path: string) => {
      this.#shares = shares.map((_, index) => index);
      // A machine that cannot be made closes what it was given, and leaves its socket. The start of
      // another container tries again.
      const given = openAgain(opened);
      rmSync(folder.vsock, { force: true });
      this.#pod.networks = network?.guest ?? [];
      const [first, ...wires] = network?.machine ?? [];
      const outside = new MachineOutside(
        {
          accel,
          kernel: kernel.path,
          initramfs: INITRAMFS,
          ...(kernel.modules !== undefined && { modules: kernel.modules }),
          commandLine: '',
          cpus: CPUS,
          memory: wholePages(this.#asked.memory),
          disks: [],
          ...(first !== undefined && { network: first, wires }),
          shares: shares.map(shareOf),
          vsock: { guestCid: GUEST_CID, path: folder.vsock },
          console: false,
          logLevel: 'silent',
          systemCalls,
        },
        given,
        {
          probeCache: home.probeCache,
          // Where nobody asked for User-Mode Linux, it has all of its jail.
          jail: choice.reason === undefined ? jail : 'require',
          noUml: choice.noUml,
        },
      );
      closeAll(opened);
      this.#machine.boot(outside, () => {}, choice);
      this.#pod.forward(path, this.#translation.network === undefined);
    };
    this.#pod.onBoot = (path) => boot(this.#readNetwork(path), path);
    if (namespace !== undefined && network !== undefined) boot(network, namespace);
  }

  #readNetwork(namespace: string): ContainerNetwork | undefined {
    return readNetwork(namespace, this.#translation.network === undefined);
  }

  #state(status: string, pid?: number): ContainerState {
    const { ociVersion, annotations } = this.#config;
    return {
      ociVersion,
      id: this.name,
      bundle: this.bundle,
      annotations: annotations ?? {},
      status,
      ...(pid && { pid }),
    };
  }

  /** The stub is there, and the engine learns of the container. */
  #created(pid: number): void {
    this.#pid = pid;
    const { status: _, ...head } = this.#state('created');
    if (this.#isFirst) this.#pod.keepNamespaces(pid, this.#translation.joined);
    this.pidNamespace = openSync(`/proc/${pid}/ns/pid`, 'r');
    if (this.#machine.state.name !== 'stopped') announce(this.state, pid);
    replaceFile(join(this.state, 'head.json'), JSON.stringify(head).slice(0, -1));
    this.#isCreated = true;
    replaceFile(join(this.state, 'status'), 'created');
  }

  #serve(socket: Socket): void {
    this.#pod.hold(socket);
    let stubbed: StubbedProcess | undefined;
    let joining: Promise<Keeper | undefined> | undefined;
    const ok = () => void socket.write('ok\n');
    const refuse = (error: unknown) => void socket.end(`error ${engineText(error)}\n`);
    const answer = (done: Promise<void>) => void done.then(ok, refuse);
    socket.on('error', () => {});
    readLines(socket, (line) => {
      const [word = '', ...words] = line.split(' ', 3);
      if (joining !== undefined) void joining.then((keeper) => keeper?.hear(socket, line));
      else if (word === 'stub') stubbed = this.#adopt(socket);
      else if (word === 'start') answer(this.#start((text) => socket.write(`warning ${text}\n`)));
      else if (word === 'pause') answer(this.#guest.inTurn(() => this.#pause()));
      else if (word === 'resume') answer(this.#guest.inTurn(() => this.#resume()));
      else if (word === 'update') answer(this.#guest.inTurn(() => this.#update(line.slice('update '.length))));
      else if (word === 'events') answer(this.#events(socket, line.slice('events '.length)));
      else if (word === 'exec') {
        try {
          stubbed = this.#exec(socket, line.slice('exec '.length));
        } catch (error) {
          refuse(error);
        }
      } else if (word === 'starve' && stubbed !== undefined && stubbed === this.#first) answer(this.#starve());
      // The stub reads the same socket after that: the exit of a short process comes second.
      else if (word === 'run' && stubbed !== undefined) this.#run(stubbed, ok).catch(refuse);
      else if (word === 'delete') void this.end().then(() => socket.end('ok\n'));
      else if (word === 'create') joining = this.#join(socket, line.slice('create '.length));
      else stubbed?.hear(word, words.map(Number));
    });
  }

  /** Makes another container in the machine. @param text JSON of the request */
  async #join(caller: Socket, text: string): Promise<Keeper | undefined> {
    const refuse = (error: unknown) => caller.end(`error ${engineText(error)}\n`);
    try {
      const { id: name, pid, console, ...request } = readCreate(text);
      const keeper = await Keeper.make({ ...request, name, joins: { pod: this.#pod, caller: pid } });
      keeper.create(caller, console).catch(refuse);
      return keeper;
    } catch (error) {
      refuse(error);
      return undefined;
    }
  }

  #adopt(socket: Socket): StubbedProcess {
    // The death of the stub is the container's.
    socket.on('close', () => this.#isDone());
    const id = this.#firstProcess;
    const process = {
      ...{ ...this.#translation.process, id, port: STREAMS_PORT + id },
      ...startHooks(this.#config.hooks ?? {}, this.#state('created', 1)),
    };
    this.#first = new StubbedProcess(socket, process, (ended) => {
      this.#ended.resolve(ended);
      this.#running = undefined;
      setTimeout(() => this.#isDone(), OUTPUT_TIMEOUT).unref();
    });
    return this.#first;
  }

  /** Starts the container's process. @throws SandboxError, OciError */
  async #start(onWarning: (text: string) => void): Promise<void> {
    const first = this.#first;
    if (this.#isStarted || first === undefined) throw new OciError('cannot start an already running container');
    if (this.#config.process === undefined) throw new OciError('the configuration has no process');
    this.#isStarted = true;
    await this.#guest.inTurn(() => this.#startFirst(first));
    const state = this.#state('running', this.#pid);
    await runHooksToTheEnd('poststart', this.#config.hooks?.poststart, {
      state,
      signal: this.#ending.signal,
      onWarning,
    });
  }

  async #startFirst(first: StubbedProcess): Promise<void> {
    try {
      if (this.#processesOf?.isRunning === false) throw new OciError(NO_PROCESSES);
      this.#pod.boot();
      const kernel = await this.#pod.ready();
      if (!this.#isFirst) await this.#share();
      this.#ending.signal.throwIfAborted();
      const container = this.#machine.createContainer(this.#setup());
      this.#isMade = true;
      const seccomp = seccompFilter(defined({ seccomp: this.#translation.seccomp }), kernel);
      this.#running = { container, seccomp };
      await first.start(container, seccomp);
      this.#tell('running');
    } catch (error) {
      first.exit(LOST);
      throw error;
    }
  }

  /** What the agent is to make, with the machine's indexes of the shares. */
  #setup(): ContainerSetup {
    const { container, shm } = this.#translation;
    const [first = 0] = this.#shares;
    const joined = this.#joined;
    const hasPodShm = joined.includes('ipc');
    // Its own instead.
    const more = hasPodShm && !this.#isFirst && typeof shm === 'object' ? [shm] : [];
    return {
      ...container,
      id: this.id,
      joined,
      ...(this.#processesOf && { processesOf: this.#processesOf.id }),
      // It sets the name of the namespace that it is in.
      hostname: joined.includes('uts') ? this.#pod.hostname : container.hostname,
      shmSize: hasPodShm ? this.#pod.shmSize : this.#shmSize,
      tmpfs: [...(container.tmpfs ?? []), ...more],
      root: { ...container.root, share: first },
      shares: (container.shares ?? []).map((share) => ({ ...share, index: first + share.index })),
      limits: this.#guest.limits,
    };
  }

  /** Leaves the container's cgroup no memory: the stub dies of that, as the container's process has. */
  async #starve(): Promise<void> {
    if (this.#isDone()) await this.#machine.gone;
    else this.#pod.leaveCgroup(this, this.#pid);
    this.cgroup?.starve();
  }

  /**
   * The container has no process any more. Ends the machine, if no other one has.
   * @returns whether none has
   */
  #isDone(): boolean {
    this.#isOver = true;
    return this.#pod.endIfIdle();
  }

  /**
   * Tells what the stub of another process has to be, in lines. The process starts with `run`.
   * @param text JSON of the request
   * @throws OciError
   */
  #exec(socket: Socket, text: string): StubbedProcess {
    const { folder } = this.#pod;
    const { process, hasConsole } = readExec(this.#config, text);
    checkConsole(process, hasConsole);
    if (this.#running === undefined) throw new OciError(NOT_RUNNING);
    this.#guest.checkStart();
    const id = this.#pod.nextProcess();
    const streams = portSocket(folder.path, STREAMS_PORT + id);
    const cgroups = (this.cgroup?.paths ?? []).map((path) => `cgroup ${path}`);
    socket.write([...cgroups, `streams ${streams}`, ...(process.terminal ? ['terminal'] : []), 'done', ''].join('\n'));
    socket.on('close', () => rmSync(streams, { force: true }));
    return new StubbedProcess(socket, { ...translateProcess(process), id, port: STREAMS_PORT + id });
  }

  async #run(stubbed: StubbedProcess, onStarted: () => void): Promise<void> {
    if (this.#running === undefined) throw new OciError(NOT_RUNNING);
    this.#guest.checkStart();
    const { container, seccomp } = this.#running;
    await this.#hold(stubbed.start(container, seccomp, onStarted));
  }

  /** A pause waits for it. */
  async #hold(started: Promise<void>): Promise<void> {
    this.#starts.add(started);
    await started.finally(() => this.#starts.delete(started));
  }

  connect(port: number): GuestProcess | undefined {
    if (this.#running === undefined || !this.#guest.mayStart) return undefined;
    const process = { id: this.#pod.nextProcess(), argv: ['connect', String(port)], tool: true, stdin: true };
    const tool = this.#running.container.start(process);
    this.#hold(tool.started().then(() => {})).catch(() => {});
    return tool;
  }

  /** Of a container that is over, the folder may be gone, or that of a new one with its name. */
  #tell(status: string): void {
    if (!this.#isOver) replaceFile(join(this.state, 'status'), status);
  }

  /** Stops the container's processes. @throws SandboxError, OciError */
  async #pause(): Promise<void> {
    if (this.#running === undefined) throw new OciError(NOT_RUNNING);
    await this.#guest.pause(this.#starts);
    this.#tell('paused');
  }

  /** @throws SandboxError, OciError */
  async #resume(): Promise<void> {
    await this.#guest.resume();
    this.#tell('running');
  }

  /** Changes the limits. @param text JSON of the request. @throws SandboxError, OciError */
  async #update(text: string): Promise<void> {
    const guest = this.#guest;
    const limits = updatedLimits(guest.limits, readUpdate(text), { memory: this.#asked.largestLimit, cpus: CPUS });
    if (this.#isStarted) await guest.update(limits);
    else guest.limits = limits;
    await this.cgroup?.update(cpusOf(limits.cpuQuota, limits.cpuPeriod));
  }

  /** Tells statistics once, or events to the end of the container. @throws SandboxError, OciError */
  async #events(socket: Socket, text: string): Promise<void> {
    const { stats, interval } = readEvents(text);
    const tell = (event: object) =>
      new Promise<void>((resolve) => socket.write(`event ${JSON.stringify(event)}\n`, () => resolve()));
    const statistics = async () => {
      this.#guest.checkNotPaused('events');
      return parseStatistics(await this.#tool(['statistics']));
    };
    if (stats) {
      await tell({ type: 'stats', id: this.name, data: (await statistics()).data });
      return;
    }
    if (this.#running === undefined) throw new OciError(NOT_RUNNING);
    const closed = new AbortController();
    socket.once('close', () => closed.abort());
    await tellEvents(
      {
        id: this.name,
        ended: this.#ended.promise,
        statistics: async () => (this.#guest.isPaused ? undefined : statistics()),
      },
      { interval, signal: closed.signal, tell },
    );
  }

  /** As `askTool` does. @throws SandboxError, OciError */
  async #tool(argv: string[], onFailed?: (ended: Promise<void>) => void): Promise<Buffer> {
    if (this.#running === undefined) throw new OciError(NOT_RUNNING);
    return await askTool(this.#running.container, this.#pod.nextProcess(), argv, onFailed);
  }

  /** Ends the container; the last one with the machine and this process. */
  async end(): Promise<void> {
    if (this.#ending.signal.aborted) return await this.#over;
    this.#ending.abort();
    this.#over = this.#leave();
    await this.#over;
  }

  /** Takes the container out of the machine, and its files. */
  async #leave(): Promise<void> {
    closeServer(this.#server);
    closeAll(this.#opened);
    this.#opened = [];
    if (this.pidNamespace !== undefined) closeSync(this.pidNamespace);
    this.pidNamespace = undefined;
    // It would serve the files of this one.
    if (this.#isFirst && this.#machine.state.name === 'listening') this.#machine[Symbol.dispose]();
    if (!this.#isDone()) await this.#takeOut();
    if (!this.#pod.remove(this)) return;
    this.#pod[Symbol.dispose]();
    await this.#machine.gone;
    process.exit(0);
  }

  async #takeOut(): Promise<void> {
    // The machine may be gone, or its guest keep the container. It keeps no file of the host.
    if (this.#isMade) await Promise.race([this.#remove().catch(() => {}), sleep(END_TIMEOUT)]);
    this.#machine.unshare(this.#shares);
    rmSync(portSocket(this.#pod.folder.path, STREAMS_PORT + this.#firstProcess), { force: true });
  }

  /** @throws SandboxError */
  async #remove(): Promise<void> {
    await this.#ended.promise;
    await this.#machine.removeContainer(this.id);
  }
}

/** What the configuration of a container asks for. */
interface Read {
  config: OciConfig;
  translation: Translation;
  asked: OciMachine;
  limits: HostLimits;
  scope: Scope | undefined;
}

/** @param asked of the machine that it joins. @throws OciError */
function readContainer(
  bundle: string,
  name: string,
  { systemd, asked: given }: { systemd: boolean; asked: OciMachine | undefined },
): Read {
  const config = readConfig(bundle);
  const translation = translate(config, bundle);
  const { cgroupsPath } = config.linux;
  const scope = systemd ? readScope(cgroupsPath, name) : undefined;
  const above = () => memoryAbove((scope === undefined ? cgroupsPath : cgroupOf(scope)) ?? undefined);
  const asked = given ?? readMachine(config, machineResources(config).memory?.limit, above());
  return { config, translation, asked, limits: hostLimits(config, asked), scope };
}

function shareOf({ path, readOnly }: SharedPath): LaterShare {
  return { path, readOnly, keepSetId: true };
}

/** Opens what the machine serves. @throws Error of a system call */
function openShares(shares: readonly SharedPath[]): number[] {
  const paths = shares.map(({ path }) => path);
  const opened = openAll(paths, O_PATH | constants.O_NOFOLLOW);
  const [root] = opened;
  if (root === undefined || fstatSync(root).isDirectory()) return opened;
  closeAll(opened);
  throw new OciError('config.json: root.path: no folder');
}

/** @throws OciError in runc's words */
function checkConsole({ terminal }: OciProcess, hasConsole: boolean): void {
  if ((terminal === true) === hasConsole) return;
  throw new OciError(
    terminal
      ? 'cannot allocate tty if runc will detach without setting console socket'
      : 'cannot use console socket if runc will not detach or allocate tty',
  );
}
