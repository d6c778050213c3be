// One container in one machine: what the command `tsvm-oci` asks for, and what the stub is told.
import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, rmSync, symlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { O_PATH } from '../../libc/openat2.js';
import type { ExitedFrame, InterfaceSpec, Limits, ProcessSpec } from '../../sandbox/agent/protocol.js';
import { defer } from '../../sandbox/deferred.js';
import { defined } from '../../sandbox/defined.js';
import { Home } from '../../sandbox/home/home.js';
import { openRuntimeFolder, portSocket, SocketFolder } from '../../sandbox/home/socket-folder.js';
import { defaultJailMode } from '../../sandbox/jail-mode.js';
import { SILENT } from '../../sandbox/log.js';
import { MachineClient } from '../../sandbox/machine/machine-client.js';
import { MachineOutside } from '../../sandbox/machine/outside.js';
import { systemCallFilter } from '../../sandbox/machine/system-calls.js';
import { INITRAMFS } from '../../sandbox/programs.js';
import type { GuestContainer } from '../../sandbox/run/guest-container.js';
import { GuestMachine } from '../../sandbox/run/guest-machine.js';
import { findKernel } from '../../sandbox/run/kernel.js';
import { machineFor } from '../../sandbox/run/machine-choice.js';
import { GUEST_CID, wholePages } from '../../sandbox/run/machine-spec.js';
import { Trace } from '../../sandbox/run/trace.js';
import { seccompFilter } from '../../sandbox/spec/limits.js';
import { type OciConfig, type OciProcess, readConfig } from '../config/config.js';
import { readEvents } from '../config/events.js';
import { readExec } from '../config/exec.js';
import { type OciMachine, readMachine } from '../config/machine.js';
import { engineText, OciError } from '../config/oci-error.js';
import { NO_PROCESS, type SharedPath, type Translation, translate, translateProcess } from '../config/translate.js';
import { limitWords, readUpdate, updatedLimits } from '../config/update.js';
import { tellEvents } from './events.js';
import { askTool } from './guest-tool.js';
import { hasCreateHooks, keepPoststop, runCreateHooks, runHooksToTheEnd, startHooks } from './hooks.js';
import { cpusOf, HostCgroup, hostLimits } from './host-cgroup.js';
import { readLines } from './lines.js';
import { type ContainerNetwork, readNetwork } from './network.js';
import { checkProgram } from './program.js';
import { type ContainerState, replaceFile } from './state-folder.js';
import { parseStatistics } from './statistics.js';
import { LOST, StubbedProcess } from './stubbed-process.js';

/** The agent's ids of the only container and its first process. Each `exec` has the next. */
const CONTAINER = 1;
const FIRST_PROCESS = 1;
/** A process's streams come to this vsock port and its id, where its stub listens. */
const STREAMS_PORT = 1024;
const CPUS = 1;
/** What engines look for. */
const NOT_RUNNING = 'container not running';
/** Milliseconds for the last output to reach the stub. */
const OUTPUT_TIMEOUT = 30_000;

export class Keeper {
  readonly #machine: GuestMachine;
  readonly #server: Server = createServer((socket) => this.#serve(socket));
  readonly #config: OciConfig;
  readonly #translation: Translation;
  readonly #cgroup: HostCgroup;
  #limits: Limits;
  /** What the configuration asks of the machine. */
  readonly #asked: OciMachine;
  #folder: SocketFolder | undefined;
  /** Empty: the guest has the loopback interface alone. */
  #networks: InterfaceSpec[] = [];
  /** Boots the machine, once its network is there. */
  #boot: ((network: ContainerNetwork | undefined) => void) | undefined;
  #first: StubbedProcess | undefined;
  /** Once the first process runs, until it ends. */
  #running: { container: GuestContainer; seccomp: ProcessSpec['seccomp'] } | undefined;
  #isStarted = false;
  #isCreated = false;
  #pid: number | undefined;
  /** A descriptor of the stub's network namespace. */
  #namespace: number | undefined;
  #nextProcess = FIRST_PROCESS + 1;
  readonly #ending = new AbortController();
  readonly #ended = defer<ExitedFrame | undefined>();
  #turn: Promise<unknown> = Promise.resolve();

  /**
   * @param id the engine's name of the container
   * @param bundle absolute path of the bundle
   * @throws OciError
   */
  constructor(
    private readonly id: string,
    private readonly bundle: string,
  ) {
    this.#config = readConfig(bundle);
    this.#translation = translate(this.#config, bundle);
    this.#limits = this.#translation.container.limits ?? {};
    this.#asked = readMachine(this.#config, this.#limits.memory ?? 0);
    // The processes of the machine are in it from their start.
    this.#cgroup = HostCgroup.enter(this.#config.linux.cgroupsPath, hostLimits(this.#config, this.#asked));
    this.#machine = new GuestMachine(new MachineClient({ shares: true }), { trace: new Trace(), log: SILENT });
    this.#machine.lost.catch(() => this.#first?.exit(LOST));
  }

  get isCreated(): boolean {
    return this.#isCreated;
  }

  /** Makes the machine ready to boot. Resolves to what the stub has to be, in lines. */
  async plan(hasConsole: boolean): Promise<string[]> {
    const { network, shares, container } = this.#translation;
    checkConsole(this.#config.process ?? NO_PROCESS, hasConsole);
    const home = new Home();
    const folder = await SocketFolder.make(randomBytes(6).toString('hex'), openRuntimeFolder(home.runtime));
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject).listen(folder.control, resolve);
    });
    await folder.publish();
    symlinkSync(folder.control, 'keeper');
    this.#folder = folder;
    const { poststop } = this.#config.hooks ?? {};
    if (poststop?.length) keepPoststop(poststop, this.#state('stopped'));
    const hasHooks = hasCreateHooks(this.#config.hooks ?? {});
    // Hooks may change what the machine serves.
    if (!hasHooks) await this.#prepare(home, folder, network);
    const lines = [
      ...this.#cgroup.paths.map((path) => `cgroup ${path}`),
      `root ${shares[0]?.path}`,
      `hostname ${container.hostname}`,
      `streams ${portSocket(folder.path, STREAMS_PORT + FIRST_PROCESS)}`,
      `control ${folder.control}`,
      ...(network === undefined ? [] : [`network ${network}`]),
      ...(this.#config.process?.terminal ? ['terminal'] : []),
      ...(hasHooks ? ['hooks'] : []),
    ];
    if (lines.some((line) => line.includes('\n'))) throw new OciError('config.json: a line end in a path');
    return lines;
  }

  /** The stub waits before its root. @throws OciError if a hook fails */
  async runHooks(pid: number): Promise<void> {
    const [root] = this.#translation.shares;
    if (this.#folder === undefined || root === undefined) throw new OciError('there is no plan');
    const { signal } = this.#ending;
    await runCreateHooks(this.#config.hooks ?? {}, this.#state('creating', pid), { root: root.path, signal });
    await this.#prepare(new Home(), this.#folder, `/proc/${pid}/ns/net`);
  }

  /**
   * Boots the machine if its network is there. Otherwise `start` does: some engines make it in between, and a
   * network device cannot come later.
   * @param namespace path of the network namespace; undefined: a new one, in which nothing was made
   */
  async #prepare(home: Home, folder: SocketFolder, namespace: string | undefined): Promise<void> {
    const network = namespace === undefined ? undefined : this.#readNetwork(namespace);
    const opened = openShares(this.#translation.shares);
    try {
      if (this.#config.process !== undefined) checkProgram(this.#translation, opened);
    } catch (error) {
      for (const fd of opened) closeSync(fd);
      throw error;
    }
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
    this.#boot = (network) => {
      this.#networks = network?.guest ?? [];
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
          shares: shares.map(({ path, readOnly }) => ({ path, readOnly, keepSetId: true })),
          vsock: { guestCid: GUEST_CID, path: folder.vsock },
          console: false,
          logLevel: 'silent',
          systemCalls,
        },
        opened,
        {
          probeCache: home.probeCache,
          // Where nobody asked for User-Mode Linux, it has all of its jail.
          jail: choice.reason === undefined ? jail : 'require',
          noUml: choice.noUml,
        },
      );
      this.#machine.boot(outside, () => {}, choice);
    };
    if (network !== undefined) this.#boot(network);
  }

  /** With the network that was made since. */
  #bootAtStart(): void {
    const namespace = this.#namespace;
    if (namespace === undefined) throw new OciError('the container is not created');
    try {
      if (this.#machine.state.name === 'listening') this.#boot?.(this.#readNetwork(`/proc/self/fd/${namespace}`));
    } finally {
      closeSync(namespace);
    }
  }

  #readNetwork(namespace: string): ContainerNetwork | undefined {
    return readNetwork(namespace, this.#translation.network === undefined);
  }

  #state(status: string, pid?: number): ContainerState {
    const { ociVersion, annotations } = this.#config;
    return {
      ociVersion,
      id: this.id,
      bundle: this.bundle,
      annotations: annotations ?? {},
      status,
      ...(pid && { pid }),
    };
  }

  /** The stub is there, and the engine learns of the container. */
  created(pid: number): void {
    this.#pid = pid;
    // Its number may be another process's later.
    this.#namespace = openSync(`/proc/${pid}/ns/net`, 'r');
    const { status: _, ...head } = this.#state('created');
    replaceFile('head.json', JSON.stringify(head).slice(0, -1));
    this.#isCreated = true;
    replaceFile('status', 'created');
  }

  #serve(socket: Socket): void {
    let stubbed: StubbedProcess | undefined;
    const answer = (done: Promise<void>) => {
      done.then(
        () => socket.write('ok\n'),
        (error) => socket.end(`error ${engineText(error)}\n`),
      );
    };
    socket.on('error', () => {});
    readLines(socket, (line) => {
      const [word = '', ...words] = line.split(' ', 3);
      if (word === 'stub') stubbed = this.#adopt(socket);
      else if (word === 'start') answer(this.#start((text) => socket.write(`warning ${text}\n`)));
      else if (word === 'pause') answer(this.#pause());
      else if (word === 'resume') answer(this.#resume());
      else if (word === 'update') answer(this.#inTurn(() => this.#update(line.slice('update '.length))));
      else if (word === 'events') answer(this.#events(socket, line.slice('events '.length)));
      else if (word === 'exec') {
        try {
          stubbed = this.#exec(socket, line.slice('exec '.length));
        } catch (error) {
          socket.end(`error ${engineText(error)}\n`);
        }
      } else if (word === 'starve' && stubbed !== undefined && stubbed === this.#first) answer(this.#starve());
      else if (word === 'run' && stubbed !== undefined) answer(this.#run(stubbed));
      else if (word === 'delete') this.end();
      else stubbed?.hear(word, words.map(Number));
    });
  }

  #adopt(socket: Socket): StubbedProcess {
    // The death of the stub is the container's.
    socket.on('close', () => this.#machine[Symbol.dispose]());
    const process = {
      ...{ ...this.#translation.process, id: FIRST_PROCESS, port: STREAMS_PORT + FIRST_PROCESS },
      ...startHooks(this.#config.hooks ?? {}, this.#state('created', 1)),
    };
    this.#first = new StubbedProcess(socket, process, (ended) => {
      this.#ended.resolve(ended);
      this.#running = undefined;
      setTimeout(() => this.#machine[Symbol.dispose](), OUTPUT_TIMEOUT).unref();
    });
    return this.#first;
  }

  /** Starts the container's process. @throws SandboxError, OciError */
  async #start(onWarning: (text: string) => void): Promise<void> {
    const first = this.#first;
    if (this.#isStarted || first === undefined) throw new OciError('cannot start an already running container');
    if (this.#config.process === undefined) throw new OciError('the configuration has no process');
    this.#isStarted = true;
    await this.#inTurn(() => this.#startFirst(first));
    const state = this.#state('running', this.#pid);
    await runHooksToTheEnd('poststart', this.#config.hooks?.poststart, {
      state,
      signal: this.#ending.signal,
      onWarning,
    });
  }

  async #startFirst(first: StubbedProcess): Promise<void> {
    try {
      this.#bootAtStart();
      const kernel = await this.#machine.hello();
      const [network, ...moreNetworks] = this.#networks;
      this.#machine.setUp({ shares: true, network, moreNetworks });
      const container = this.#machine.createContainer({
        ...this.#translation.container,
        limits: this.#limits,
        id: CONTAINER,
      });
      const seccomp = seccompFilter(defined({ seccomp: this.#translation.seccomp }), kernel);
      this.#running = { container, seccomp };
      await first.start(container, seccomp);
      replaceFile('status', 'running');
    } catch (error) {
      first.exit(LOST);
      throw error;
    }
  }

  /** Leaves the container's cgroup no memory: the stub dies of that, as the container's process has. */
  async #starve(): Promise<void> {
    this.#machine[Symbol.dispose]();
    await this.#machine.gone;
    this.#cgroup.starve();
  }

  /** Does what reads or changes the limits once all before it is done: each begins with what the last one left. */
  async #inTurn(change: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(change);
    this.#turn = done.catch(() => {});
    await done;
  }

  /**
   * Tells what the stub of another process has to be, in lines. The process starts with `run`.
   * @param text JSON of the request
   * @throws OciError
   */
  #exec(socket: Socket, text: string): StubbedProcess {
    const folder = this.#folder;
    const { process, hasConsole } = readExec(this.#config, text);
    checkConsole(process, hasConsole);
    if (folder === undefined || this.#running === undefined) throw new OciError(NOT_RUNNING);
    if (this.#machine.state.name === 'frozen') throw new OciError('cannot exec in a paused container');
    const id = this.#nextProcess++;
    const streams = portSocket(folder.path, STREAMS_PORT + id);
    const cgroups = this.#cgroup.paths.map((path) => `cgroup ${path}`);
    socket.write([...cgroups, `streams ${streams}`, ...(process.terminal ? ['terminal'] : []), 'done', ''].join('\n'));
    socket.on('close', () => rmSync(streams, { force: true }));
    return new StubbedProcess(socket, { ...translateProcess(process), id, port: STREAMS_PORT + id });
  }

  async #run(stubbed: StubbedProcess): Promise<void> {
    if (this.#running === undefined) throw new OciError(NOT_RUNNING);
    const { container, seccomp } = this.#running;
    await stubbed.start(container, seccomp);
  }

  /** Stops the container's processes. @throws SandboxError, OciError */
  async #pause(): Promise<void> {
    if (this.#running === undefined || this.#machine.state.name !== 'ready') throw new OciError(NOT_RUNNING);
    await this.#machine.freeze();
    replaceFile('status', 'paused');
  }

  /** @throws SandboxError, OciError */
  async #resume(): Promise<void> {
    if (this.#machine.state.name !== 'frozen') throw new OciError('container not paused');
    await this.#machine.thaw({});
    replaceFile('status', 'running');
  }

  /** Changes the limits. @param text JSON of the request. @throws SandboxError, OciError */
  async #update(text: string): Promise<void> {
    const limits = updatedLimits(this.#limits, readUpdate(text), { memory: this.#asked.largestLimit, cpus: CPUS });
    if (this.#isStarted) await this.#ask('update', ['limit', ...limitWords(limits)]);
    this.#limits = limits;
    this.#cgroup.update(cpusOf(limits.cpuQuota, limits.cpuPeriod));
  }

  /** Tells statistics once, or events to the end of the container. @throws SandboxError, OciError */
  async #events(socket: Socket, text: string): Promise<void> {
    const { stats, interval } = readEvents(text);
    const tell = (event: object) =>
      new Promise<void>((resolve) => socket.write(`event ${JSON.stringify(event)}\n`, () => resolve()));
    const statistics = async () => parseStatistics(await this.#ask('events', ['statistics']));
    if (stats) {
      await tell({ type: 'stats', id: this.id, data: (await statistics()).data });
      return;
    }
    if (this.#running === undefined) throw new OciError(NOT_RUNNING);
    const closed = new AbortController();
    socket.once('close', () => closed.abort());
    const isPaused = () => this.#machine.state.name === 'frozen';
    await tellEvents(
      { id: this.id, ended: this.#ended.promise, statistics: async () => (isPaused() ? undefined : statistics()) },
      { interval, signal: closed.signal, tell },
    );
  }

  /** Asks a tool of the agent. @throws SandboxError, OciError */
  async #ask(what: string, argv: string[]): Promise<Buffer> {
    if (this.#running === undefined) throw new OciError(NOT_RUNNING);
    if (this.#machine.state.name === 'frozen') throw new OciError(`${what}: the container is paused`);
    return await askTool(this.#running.container, this.#nextProcess++, argv);
  }

  /** Ends the machine and this process. */
  end(): void {
    this.#ending.abort();
    this.#machine[Symbol.dispose]();
    this.#folder?.[Symbol.dispose]();
    void this.#machine.gone.then(() => process.exit(0));
  }
}

/** Opens what the machine serves. @throws Error of a system call */
function openShares(shares: readonly SharedPath[]): number[] {
  const opened: number[] = [];
  try {
    for (const { path } of shares) opened.push(openSync(path, O_PATH | constants.O_NOFOLLOW));
    const [root] = opened;
    if (root !== undefined && !fstatSync(root).isDirectory()) throw new OciError('config.json: root.path: no folder');
  } catch (error) {
    for (const fd of opened) closeSync(fd);
    throw error;
  }
  return opened;
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
