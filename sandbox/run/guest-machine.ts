// A machine together with the agent in its guest: it boots, says hello, gets containers, and shuts
// down. It lives as long as its machine process, and may hold zero, one or several containers.
import { messageOf } from '../../errors/index.js';
import type { Accelerator, LaterShare, MachineStatistics, PeerNetwork, Refusal } from '../../vmm/machine.js';
import type { ContainerSetup, MachineSetup, RunningFrame } from '../agent/protocol.js';
import { Responsiveness } from '../agent/responsiveness.js';
import { AgentSession, type Thaw } from '../agent/session.js';
import type { MachineCgroup } from '../cgroup/machine-cgroup.js';
import { type CgroupOptions, makeCgroup } from '../cgroup/make.js';
import { defer } from '../deferred.js';
import { SandboxError } from '../errors.js';
import type { JailReport } from '../jail-report.js';
import type { Log } from '../log.js';
import type { MachineClient, MachineNetwork } from '../machine/machine-client.js';
import type { MachineFiles } from '../machine/machine-files.js';
import type { MachineOutside } from '../machine/outside.js';
import { BOOT_DEADLINE, type BootDeadline, BootTimer } from './boot-timer.js';
import { GuestContainer, inOrder } from './guest-container.js';
import { type MachineChoice, whyNotKvm } from './machine-choice.js';
import { ResourceStack } from './resource-stack.js';
import type { Trace } from './trace.js';

/** Milliseconds to wait for the exit of a killed machine process. */
const KILL_TIMEOUT = 10_000;
/** Milliseconds for the process of a machine that is saved to exit. */
const EXIT_TIMEOUT = 60_000;
/** Milliseconds to save a machine, and bytes of its memory in each further one: a slow disk of a busy host. */
const SAVE_TIMEOUT = 120_000;
const SAVE_RATE = 5_000;
/** Milliseconds to wait for the machine to report why its agent's connection was lost. */
const LAST_WORDS = 10_000;

/**
 * Milliseconds to save a machine with so many bytes of memory, or to write those out that are its
 * disk's.
 */
export function saveTimeout(memory: number): number {
  return SAVE_TIMEOUT + memory / SAVE_RATE;
}

export type GuestMachineState =
  /** The machine process runs and waits for its spec. */
  | { name: 'spawned' }
  /** The agent's socket exists; the machine was not told to boot. */
  | { name: 'listening'; session: AgentSession }
  /** The machine boots; the agent has not said hello. */
  | { name: 'booting'; session: AgentSession }
  /** The agent has said hello and takes requests. `kernel` is the release of the guest's kernel. */
  | { name: 'ready'; session: AgentSession; kernel: string }
  /** The processes of its containers are stopped, to be copied; or it is such a copy. */
  | { name: 'frozen'; session: AgentSession; kernel: string }
  /** The agent syncs the disks and stops the machine. */
  | { name: 'stopping'; session: AgentSession }
  /** The machine has ended or was given up. `error` is the reason. */
  | { name: 'stopped'; error: Error };

type StateName = GuestMachineState['name'];

interface Options {
  trace: Trace;
  log: Log;
  bootDeadline?: BootDeadline;
}

/** A machine with an agent. Disposing of it kills the machine process. */
export class GuestMachine implements Disposable {
  readonly #client: MachineClient;
  #accelerator: Accelerator | undefined;
  #acceleratorReason: string | undefined;
  readonly #trace: Trace;
  readonly #log: Log;
  readonly #bootDeadline: BootDeadline;
  readonly #resources = new ResourceStack();
  readonly #lost = defer<never>();
  #cgroup: Promise<MachineCgroup | undefined> | undefined;
  #onCgroup: CgroupOptions['onPath'] | undefined;
  /** The deadlines of whatever the guest and its machine process are asked. */
  readonly responsiveness = this.#resources.add(new Responsiveness());
  #state: GuestMachineState = { name: 'spawned' };
  /** Resolves when the agent has set the machine up. */
  #isSetUp: Promise<void> = Promise.resolve();

  /** @param client the machine process, owned from now on */
  constructor(client: MachineClient, { trace, log, bootDeadline = BOOT_DEADLINE }: Options) {
    this.#client = this.#resources.add(client);
    this.#trace = trace;
    this.#log = log;
    this.#bootDeadline = bootDeadline;
    trace.mark('machineSpawned', client.spawned);
    client.ended.then(({ error }) => this.#stop(error ?? new SandboxError('machine-died', 'the machine stopped')));
  }

  get state(): GuestMachineState {
    return this.#state;
  }

  /** Rejects with the reason when the machine ends. Never resolves. */
  get lost(): Promise<never> {
    return this.#lost.promise;
  }

  /** Process id of the machine process; undefined before it is known. */
  get pid(): number | undefined {
    return this.#client.pid;
  }

  /** Process id of the leader of its process group; undefined if it could not be started. */
  get groupPid(): number | undefined {
    return this.#client.groupPid;
  }

  /** What the machine is jailed by, once it was told to boot. Undefined: nothing. */
  get jail(): JailReport | undefined {
    return this.#client.jail;
  }

  /** What runs the guest. Undefined before it runs. */
  get accelerator(): Accelerator | undefined {
    return this.#accelerator;
  }

  /** Why it is not KVM that runs the guest, if no machine was asked for. */
  get acceleratorReason(): string | undefined {
    return this.#acceleratorReason;
  }

  /** What the first process was jailed by. Undefined: nothing. */
  get firstJail(): Promise<JailReport | undefined> {
    return this.#client.firstJail;
  }

  /** Process id of the companion, which leads a process group; undefined while there is none. */
  get companionPid(): number | undefined {
    return this.#client.companionPid;
  }

  /**
   * Makes the cgroup of the machine, with everything that belongs to it.
   * @returns undefined if this host gives this user none
   * @throws SandboxError `cgroup`
   */
  makeCgroup(options: Omit<CgroupOptions, 'log'>): Promise<MachineCgroup | undefined> {
    this.#onCgroup = options.onPath;
    this.#cgroup = makeCgroup({ ...options, log: this.#log });
    return this.#cgroup;
  }

  /**
   * Kills the machine, and removes its cgroup once its process is gone, or some seconds have passed: a file
   * system may stand still. Until it is gone it may write to the kept disk, which must not get another user.
   * It has the published ports, too, and its image is in use.
   */
  async end(): Promise<void> {
    this[Symbol.dispose]();
    await Promise.race([this.#client.gone, sleep(KILL_TIMEOUT)]);
    await this.#removeCgroup();
  }

  /** Kills what is left in it. */
  async #removeCgroup(): Promise<void> {
    try {
      const cgroup = await this.#cgroup?.catch(() => undefined);
      await cgroup?.remove();
      this.#onCgroup?.(undefined);
    } catch (error) {
      // The next run removes it, or the next command if there is none.
      this.#log.warn(messageOf(error));
    }
  }

  /** Resolves when the machine process has exited and its files are closed. */
  get gone(): Promise<void> {
    return this.#client.gone;
  }

  /** Resolves with the result of `promise`; rejects if the machine ends first. */
  whileAlive<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.lost]);
  }

  /** Keeps a resource until the machine is disposed of. */
  own<T extends Disposable>(resource: T): T {
    return this.#resources.add(resource);
  }

  /**
   * Listens for the agent.
   * @param path the vsock device's socket for the agent's port
   * @throws SandboxError `state`, `wrong-state`
   */
  async listen(path: string): Promise<void> {
    this.#expect('spawned');
    const session = this.own(await AgentSession.listen(path, this.responsiveness));
    this.#expect('spawned');
    this.#state = { name: 'listening', session };
    session.lost.catch(async (error) => {
      // The machine may know the cause, so its report wins over the lost connection.
      await Promise.race([this.#client.ended, sleep(LAST_WORDS)]);
      this.#stop(error);
    });
  }

  /**
   * Tells the machine to boot. Does not wait.
   * @param outside what was opened for the machine, owned from now on
   * @param onBooted called when the vCPUs run; the machine has then opened all files of the spec
   * @param choice why it is not KVM, or not User-Mode Linux, that runs the guest
   * @throws SandboxError `wrong-state`
   */
  boot(
    outside: MachineOutside,
    onBooted: (how: { accel: Accelerator; reason: string | undefined }) => void,
    choice: Pick<MachineChoice, 'reason' | 'noUml'> = {},
  ): void {
    const { session } = this.#expectFor(outside, 'listening');
    this.#client.boot(outside);
    this.#state = { name: 'booting', session };
    this.#trace.mark('bootSent');
    this.#client.booted.then(({ accel, reason: noKvm, times }) => {
      this.#accelerator = accel;
      this.#acceleratorReason = whyNotKvm(choice, noKvm);
      this.#trace.markMachine(times);
      onBooted({ accel, reason: this.#acceleratorReason });
    });
  }

  /**
   * Waits for the agent's hello. A restored machine is `frozen` then, and any other one `ready`.
   * @returns the release of the guest's kernel
   * @throws SandboxError `boot-timeout` after two minutes without those in which other programs had the
   *   processors, and after ten minutes in any case; `wrong-state`; what ended the machine
   */
  async hello(): Promise<string> {
    const { session } = this.#expect('booting');
    const waited = () => this.#client.processorWait;
    const late = this.own(new BootTimer(this.#bootDeadline, waited, (passed) => this.#stop(tooSlow(passed))));
    const { agent, kernel, frozen, running = 0 } = await this.whileAlive(session.hello);
    late[Symbol.dispose]();
    this.#expect('booting');
    this.#state = { name: frozen ? 'frozen' : 'ready', session, kernel };
    this.#trace.mark('agentHello');
    this.#trace.mark('agentStarted', performance.timeOrigin + performance.now() - running / 1000);
    this.#log.debug('agent', { agent, kernel });
    return kernel;
  }

  /** Waits until the machine's network is up or has failed. @throws what ended the machine */
  network(onRefusal: (refusal: Refusal) => void): Promise<MachineNetwork> {
    this.#client.onRefusal = onRefusal;
    return this.whileAlive(this.#client.network);
  }

  /**
   * Sets up the guest and its clock. Does not wait: a failure is reported by the machine's
   * containers.
   * @throws SandboxError `wrong-state`
   */
  setUp(setup: MachineSetup): void {
    const { session } = this.#expect('ready');
    this.#isSetUp = session.setUp({ ...setup, clock: Date.now() * 1000 });
    this.#isSetUp.catch(() => {});
  }

  /**
   * Makes a container. Does not wait: a failure is reported by the container's processes.
   * @throws SandboxError `wrong-state`
   */
  createContainer(container: ContainerSetup): GuestContainer {
    const { session } = this.#expect('ready');
    const made = inOrder(this.#isSetUp, session.create(container));
    made.catch(() => {});
    return new GuestContainer(this, session, container.id, made);
  }

  /**
   * Stops the processes of all containers, and has the guest write its disks out. The machine can be
   * copied then. After a failure it is `ready`, and all run on.
   * @throws SandboxError `agent` while a process is being started, and if one does not stop in time;
   *   `unresponsive`, `wrong-state`; what ended the machine
   */
  async freeze(): Promise<void> {
    const ready = this.#expect('ready');
    const frozen = { ...ready, name: 'frozen' as const };
    this.#state = frozen;
    try {
      await this.whileAlive(ready.session.freeze());
    } catch (error) {
      if (this.#state === frozen) this.#state = ready;
      throw error;
    }
  }

  /** The processes of a restored machine. @throws SandboxError `wrong-state`; what ended the machine */
  running(): Promise<readonly RunningFrame[]> {
    const { session } = this.#expect('frozen');
    return this.whileAlive(session.running);
  }

  /**
   * Makes a frozen machine what `thaw` says, and lets its processes run. If a step fails, none of them
   * has run, and the machine is stopped: a copy that is not proven different does not live.
   * @param thaw empty: it was not restored, and runs on as it was
   * @throws SandboxError `agent`, `unresponsive`, `wrong-state`; what ended the machine
   */
  async thaw(thaw: Thaw): Promise<void> {
    const { session, kernel } = this.#expect('frozen');
    try {
      await this.whileAlive(session.thaw(thaw));
    } catch (error) {
      this.#stop(error instanceof Error ? error : new Error(messageOf(error)));
      this.#client[Symbol.dispose]();
      throw error;
    }
    this.#state = { name: 'ready', session, kernel };
  }

  /**
   * Saves a frozen machine, which stands still then.
   * @param files what it is saved to, owned from now on
   * @param timeout in milliseconds: a machine process that a guest has taken over may never answer
   * @throws SandboxError `no-space`, `snapshot`, `unresponsive`, `wrong-state`; what ended the machine
   */
  async save(files: MachineFiles, timeout: number): Promise<void> {
    this.#expectFor(files, 'frozen');
    // A host that writes gigabytes is not a guest that does not answer.
    this.responsiveness.hold(true);
    const late = defer<never>();
    const seconds = Math.round(timeout / 1000);
    const timer = setTimeout(() => late.reject(new SandboxError('unresponsive', notSaved(seconds))), timeout);
    try {
      await this.whileAlive(Promise.race([this.#client.save(files), late.promise]));
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Lets a frozen machine run on as it was, whether or not it could be saved. If it cannot, it is
   * ended.
   * @param failure why it was not saved
   * @throws SandboxError `machine-died` if it cannot; what ended the machine
   */
  async runOn(failure?: unknown): Promise<void> {
    this.#client.send({ type: 'resume' });
    this.responsiveness.hold(false);
    this.#expect('frozen');
    try {
      await this.thaw({});
    } catch (cause) {
      const before = failure === undefined ? '' : `${messageOf(failure)}. Then `;
      const message = `${before}the machine could not run on, and was ended: ${messageOf(cause)}`;
      throw new SandboxError('machine-died', message, { cause });
    }
  }

  /** Ends a machine that is saved: its streams end after their last bytes. */
  async endSaved(): Promise<void> {
    const { session } = this.#expect('frozen');
    this.#state = { name: 'stopping', session };
    this.#client.send({ type: 'shutdown' });
    await Promise.race([this.#client.gone, sleep(EXIT_TIMEOUT)]);
  }

  /** A container of a restored machine. @throws SandboxError `wrong-state` */
  container(id: number): GuestContainer {
    const { session } = this.#expect('frozen');
    return new GuestContainer(this, session, id, Promise.resolve());
  }

  /** The machine's statistics so far. @throws SandboxError `not-running`, `unresponsive` */
  async statistics(): Promise<MachineStatistics> {
    const notRunning = () => new SandboxError('not-running', 'the machine is not running');
    if (this.#state.name === 'stopped') throw notRunning();
    const ended = this.#client.ended.then(() => {
      throw notRunning();
    });
    return Promise.race([this.responsiveness.inTime(() => this.#client.statistics()), ended]);
  }

  /**
   * Gives the machine more shares.
   * @param opened their descriptors, opened with O_PATH, owned from now on
   * @returns the index of the first
   * @throws SandboxError `state`; what ended the machine
   */
  share(shares: readonly LaterShare[], opened: readonly number[]): Promise<number> {
    return this.whileAlive(this.#client.share(shares, opened));
  }

  /** Closes shares that it was given: the guest finds them gone. */
  unshare(indexes: readonly number[]): void {
    this.#client.unshare(indexes);
  }

  /**
   * Removes a container in which no process runs.
   * @throws SandboxError `agent`, `unresponsive`, `wrong-state`; what ended the machine
   */
  removeContainer(id: number): Promise<void> {
    const { session } = this.#expect('ready');
    return this.whileAlive(session.remove(id));
  }

  /**
   * Joins a private network.
   * @throws SandboxError `network`, `unresponsive`, `wrong-state`; what ended the machine
   */
  joinNetwork(network: PeerNetwork): Promise<void> {
    this.#expect('ready');
    return this.whileAlive(this.responsiveness.inTime(() => this.#client.join(network)));
  }

  /** Leaves the private network whose members meet in `folder`. */
  leaveNetwork(folder: string): void {
    this.#client.leave(folder);
  }

  /**
   * Resolves to true if the machine process is alive. Before it resolves to false, everything it
   * wrote has been read.
   */
  isAlive(): Promise<boolean> {
    return this.#client.isAlive();
  }

  /**
   * Has the guest sync its disks and stop. If it takes longer than the timeout, the disk is left as
   * after a crash.
   * @param timeout in milliseconds
   * @throws SandboxError `wrong-state`
   */
  async shutdown(timeout: number): Promise<void> {
    const { session } = this.#expect('ready');
    this.#state = { name: 'stopping', session };
    session.shutdown();
    if ((await Promise.race([this.#client.ended, sleep(timeout)])) === undefined) {
      this.#log.warn('the guest did not sync its disk in time');
    }
  }

  [Symbol.dispose](): void {
    this.#stop(new SandboxError('not-running', 'the machine was stopped'));
    this.#resources[Symbol.dispose]();
  }

  /** Later reasons are ignored: the first one caused them. */
  #stop(error: Error): void {
    if (this.#state.name === 'stopped') return;
    this.#state = { name: 'stopped', error };
    this.#lost.reject(error);
  }

  /** Like `#expect`. Disposes of what a call in the wrong state was given. */
  #expectFor<N extends StateName>(given: Disposable, name: N): Extract<GuestMachineState, { name: N }> {
    try {
      return this.#expect(name);
    } catch (error) {
      given[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * The state, if it has this name.
   * @throws SandboxError `wrong-state`; for a stopped machine, the reason of its end
   */
  #expect<N extends StateName>(name: N): Extract<GuestMachineState, { name: N }> {
    const state = this.#state;
    if (isIn(state, name)) return state;
    if (state.name === 'stopped') throw state.error;
    throw new SandboxError('wrong-state', `the machine is ${state.name}, not ${name}`);
  }
}

function isIn<N extends StateName>(
  state: GuestMachineState,
  name: N,
): state is Extract<GuestMachineState, { name: N }> {
  return state.name === name;
}

function notSaved(seconds: number): string {
  return `the machine was not saved in ${seconds} s: the host's disk is slow, or stop or kill the container to end it`;
}

/** @param passed milliseconds */
function tooSlow(passed: number): SandboxError {
  const seconds = Math.round(passed / 1000);
  return new SandboxError('boot-timeout', `the guest did not start in ${seconds} s: --console shows how far it came`);
}

/** Waits without keeping this process alive. */
export function sleep(milliseconds: number): Promise<undefined> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds, undefined).unref();
  });
}
