// The device thread's side of the vCPU threads: starts them, answers the exits that they forward,
// pauses and stops them.
import type { EventLoop } from '../../host/event-loop.js';
import * as libc from '../../host/libc.js';
import { Timer } from '../../host/timer.js';
import { KVM_EXIT_IO_IN, KVM_EXIT_MMIO } from '../../kvm/exits.js';
import { kvm_run } from '../../kvm/structs.js';
import type { Vcpu } from '../../kvm/vcpu.js';
import { MachineError } from '../../machine.js';
import { Kick } from './kick.js';
import { MachineShared, ThreadCommand, ThreadEnd, ThreadState, type VcpuShared, Word } from './vcpu-shared.js';
import { type StartedThread, startVcpuThread } from './vcpu-start.js';

/**
 * Milliseconds that a thread may take to start: on a busy host, those of many CPUs take half a
 * minute. The owner waits for two minutes, and knows less.
 */
export const START_TIMEOUT = 90_000;
/** Milliseconds that a thread may take to answer a kick before the next one. */
const KICK_INTERVAL = 10;
/** Kicks before a thread counts as lost. */
const MAX_KICKS = 3000;

/** What the guest's ports and device windows lead to. Reads return unsigned values. */
export interface Bus {
  /** @param size 1, 2 or 4 bytes */
  readPort(port: number, size: number): number;
  writePort(port: number, size: number, value: number): void;
  /** @param data to be filled; 1, 2, 4 or 8 bytes */
  readMmio(address: number, data: Uint8Array): void;
  writeMmio(address: number, data: Uint8Array): void;
}

/**
 * How a vCPU ended without being stopped: by an exit that cannot be answered, or by an error of its
 * thread.
 */
export type VcpuEnd = { kind: 'exit'; vcpu: Vcpu; reason: number } | { kind: 'error'; message: string };

/** Events of the threads. They come inside the event loop, or inside {@link VcpuThreads.stop}. */
export interface VcpuEvents {
  /** The first vCPU began to run, at `time` in milliseconds since the epoch. */
  onStart(time: number): void;
  /**
   * All threads have started, and are paused. Called once, inside the event loop. Returns the
   * address of the filter that each adds before it goes on; 0: none. Absent: threads are not paused.
   */
  confine?: () => number;
  /** A vCPU ended without {@link VcpuThreads.stop}. */
  onEnd(end: VcpuEnd): void;
}

interface VcpuThread extends StartedThread {
  vcpu?: Vcpu;
  /** Views of `kvm_run`'s MMIO data, by length. */
  mmioData: Uint8Array[];
  kick?: Kick;
  reported: boolean;
}

/**
 * The vCPU threads of one machine. Threads start idle, so they can start before the machine is
 * built. Each ends by {@link stop} or by an exit that cannot be answered, and never ends the
 * process.
 */
export class VcpuThreads implements Disposable {
  readonly #threads: VcpuThread[] = [];
  readonly #workerUrl: URL;
  #bus: Bus | undefined;
  /** Undefined once called. */
  #onStart: VcpuEvents['onStart'] | undefined;
  #onEnd: VcpuEvents['onEnd'] | undefined;
  /** Undefined once called. */
  #onConfine: VcpuEvents['confine'] | undefined;
  #loop: EventLoop | undefined;
  #startTimer: Timer | undefined;

  /**
   * @param workerUrl the bundle of vcpu-worker.ts
   * @param shared memory shared with all threads
   * @param started threads that were started with `shared`; owned from now on
   */
  constructor(
    workerUrl: URL,
    readonly shared = new MachineShared(),
    started: readonly StartedThread[] = [],
  ) {
    this.#workerUrl = workerUrl;
    for (const thread of started) this.#add(thread);
    this.shared.wakeFd = libc.createEventFd();
  }

  #add(thread: StartedThread): void {
    this.#threads.push({ ...thread, mmioData: [], reported: false });
  }

  /** Starts threads until there are `count`. */
  prepare(count: number): void {
    while (this.#threads.length < count) this.#add(startVcpuThread(this.shared, this.#workerUrl));
  }

  /**
   * Runs one vCPU on each thread. `loop`, which the calling thread runs, calls `bus` for the
   * guest's accesses. A thread takes tens of milliseconds to start, or seconds on a loaded host. A
   * thread that does not start within {@link START_TIMEOUT} ends its vCPU by an error.
   */
  start(vcpus: readonly Vcpu[], loop: EventLoop, bus: Bus, { onStart, onEnd, confine }: VcpuEvents): void {
    this.prepare(vcpus.length);
    this.#bus = bus;
    this.#onStart = onStart;
    this.#onEnd = onEnd;
    this.#onConfine = confine;
    this.#loop = loop;
    loop.add(this.shared.wakeFd, libc.EPOLLIN, () => {
      libc.drainEventFd(this.shared.wakeFd);
      this.#serve();
      this.#confine();
    });
    this.#startTimer = new Timer(loop, () => this.#checkStart());
    this.#startTimer.set(START_TIMEOUT);
    this.#threads.forEach((thread, index) => {
      const vcpu = vcpus[index];
      if (vcpu === undefined) return;
      const { fd, runAddress, runSize } = vcpu;
      const data = new Uint8Array(vcpu.run.buffer, kvm_run['mmio.data'], 8);
      thread.vcpu = vcpu;
      thread.mmioData = Array.from({ length: 9 }, (_, length) => data.subarray(0, length));
      thread.shared.vcpu = { fd, runAddress, runSize };
      thread.shared.store(Word.COMMAND, ThreadCommand.run);
    });
  }

  /** Reports the first vCPU's start, once. */
  #announceStart(): void {
    const time = this.#threads[0]?.shared.startTime ?? 0;
    if (time === 0) return;
    const onStart = this.#onStart;
    this.#onStart = undefined;
    onStart?.(time);
  }

  /**
   * Once all threads run, has them add their filters. Threads signal when they begin to run. A
   * thread that is paused, or has ended, leaves it to a later signal.
   */
  #confine(): void {
    const confine = this.#onConfine;
    const running = this.#threads.filter(({ vcpu }) => vcpu !== undefined);
    if (confine === undefined || !running.every(({ shared }) => shared.load(Word.STATE) === ThreadState.running))
      return;
    this.#onConfine = undefined;
    this.pause();
    // What they are made of cannot be made later.
    for (const thread of running) kickOf(thread);
    const filter = confine();
    for (const { shared } of running) shared.filter = filter;
    this.resume();
  }

  #checkStart(): void {
    const isStarting = ({ vcpu, shared }: VcpuThread) =>
      vcpu !== undefined && shared.load(Word.STATE) === ThreadState.starting;
    if (!this.#threads.some(isStarting)) return;
    this.#onEnd?.({ kind: 'error', message: 'its thread did not start: the host is out of memory or of threads' });
  }

  /** Returns the exits to user space of all vCPUs, by KVM_EXIT_* number. */
  exitCounts(): number[] {
    const counts: number[] = [];
    for (const { shared } of this.#threads) {
      shared.exits.forEach((count, reason) => {
        counts[reason] = (counts[reason] ?? 0) + count;
      });
    }
    return counts;
  }

  /** Answers the exits that threads wait with, and reports threads that ended. */
  #serve(): void {
    this.#announceStart();
    for (const thread of this.#threads) {
      if (thread.shared.load(Word.REQUEST) === 1) {
        this.#answer(thread);
        thread.shared.store(Word.REQUEST, 0);
      }
      const isEnded = thread.shared.load(Word.STATE) === ThreadState.ended;
      if (isEnded && !thread.reported) this.#report(thread);
    }
  }

  #report(thread: VcpuThread): void {
    thread.reported = true;
    const end = thread.shared.load(Word.END);
    if (end === ThreadEnd.error) this.#onEnd?.({ kind: 'error', message: thread.shared.message });
    if (end === ThreadEnd.exit && thread.vcpu !== undefined) {
      this.#onEnd?.({ kind: 'exit', vcpu: thread.vcpu, reason: thread.vcpu.run.getUint32(kvm_run.exit_reason, true) });
    }
  }

  #answer(thread: VcpuThread): void {
    const bus = this.#bus;
    const run = thread.vcpu?.run;
    if (bus === undefined || run === undefined) return;
    if (run.getUint32(kvm_run.exit_reason, true) === KVM_EXIT_MMIO) {
      // Device windows are below 4 GiB.
      const address = run.getUint32(kvm_run['mmio.phys_addr'], true);
      const data = thread.mmioData[run.getUint32(kvm_run['mmio.len'], true)];
      // KVM's lengths are 1 to 8.
      if (data === undefined) return;
      if (run.getUint8(kvm_run['mmio.is_write']) === 0) bus.readMmio(address, data);
      else bus.writeMmio(address, data);
    } else {
      answerIo(run, bus);
    }
  }

  /**
   * Stops all vCPUs where they are, with their last exits answered, so that their state is
   * complete.
   * @throws MachineError `host` if a vCPU does not stop in half a minute: all run on
   */
  pause(): void {
    const running = this.#threads.filter(({ vcpu }) => vcpu !== undefined);
    if (this.#command(running, ThreadCommand.pause, [ThreadState.paused, ThreadState.ended])) return;
    this.resume();
    throw new MachineError('host', 'a vCPU did not pause in half a minute');
  }

  /** Lets paused vCPUs run again. */
  resume(): void {
    for (const { shared, vcpu } of this.#threads) {
      if (vcpu === undefined) continue;
      vcpu.run.setUint8(kvm_run.immediate_exit, 0);
      shared.store(Word.COMMAND, ThreadCommand.run);
    }
  }

  /**
   * Makes all threads leave their vCPUs for good. Exits that threads wait with are not answered any
   * more, so the bus may call this. Takes at most half a minute. Returns false if a thread is lost.
   */
  stop(): boolean {
    this.#bus = undefined;
    this.#onEnd = undefined;
    this.#startTimer?.clear();
    // A thread that has not started yet reads the command before it touches its vCPU.
    const stopped = this.#command(this.#threads, ThreadCommand.stop, [ThreadState.ended, ThreadState.starting]);
    this.#announceStart();
    return stopped;
  }

  #command(threads: readonly VcpuThread[], command: number, targets: readonly number[]): boolean {
    for (const thread of threads) {
      thread.vcpu?.run.setUint8(kvm_run.immediate_exit, 1);
      thread.shared.store(Word.COMMAND, command);
    }
    for (let kicks = 0; kicks < MAX_KICKS; kicks++) {
      const waiting = threads.filter(({ shared }) => !hasReached(shared, targets));
      const first = waiting[0]?.shared;
      if (first === undefined) return true;
      for (const thread of waiting) kickOf(thread)?.send();
      for (let waited = 0; waited < KICK_INTERVAL && !hasReached(first, targets); waited++) {
        this.#serve();
        Atomics.wait(first.words, Word.STATE, first.load(Word.STATE), 1);
      }
    }
    return false;
  }

  /** Ends the threads. The vCPUs may be closed afterwards. */
  [Symbol.dispose](): void {
    this.stop();
    // Signalling the descriptor is the last thing that a thread does.
    const ended = this.#command(this.#threads, ThreadCommand.stop, [ThreadState.ended]);
    this.#loop?.remove(this.shared.wakeFd);
    if (ended) libc.close(this.shared.wakeFd);
    this.#startTimer?.[Symbol.dispose]();
    for (const { kick } of this.#threads) kick?.[Symbol.dispose]();
  }
}

/** Undefined while the thread starts. */
function kickOf(thread: VcpuThread): Kick | undefined {
  const tid = thread.shared.load(Word.TID);
  if (tid !== 0) thread.kick ??= new Kick(tid);
  return thread.kick;
}

function hasReached(shared: VcpuShared, targets: readonly number[]): boolean {
  return targets.includes(shared.load(Word.STATE));
}

/**
 * Answers a port exit: `count` accesses of `size` bytes each. String instructions make more than
 * one.
 */
function answerIo(run: DataView, bus: Bus): void {
  const port = run.getUint16(kvm_run['io.port'], true);
  const size = run.getUint8(kvm_run['io.size']);
  const count = run.getUint32(kvm_run['io.count'], true);
  const isIn = run.getUint8(kvm_run['io.direction']) === KVM_EXIT_IO_IN;
  let at = run.getUint32(kvm_run['io.data_offset'], true);
  for (let index = 0; index < count; index++, at += size) {
    if (isIn) {
      const value = bus.readPort(port, size);
      if (size === 1) run.setUint8(at, value);
      else if (size === 2) run.setUint16(at, value, true);
      else run.setUint32(at, value, true);
    } else if (size === 1) bus.writePort(port, size, run.getUint8(at));
    else bus.writePort(port, size, size === 2 ? run.getUint16(at, true) : run.getUint32(at, true));
  }
}
