// Memory that vCPU threads and the device thread share: one block for each vCPU, one for the
// machine. All of it exists before a thread gets its vCPU, so threads can start while the machine
// is still being built.

/** Each virtio-mmio device has a window of one page from here on, in the hole below 4 GiB. */
export const MMIO_BASE = 0xd0000000;
export const MMIO_WINDOW = 0x1000;
/** More than there are interrupt lines. */
const MAX_MMIO_DEVICES = 32;

/** Where the thread is. Written by the thread. `starting`: it has not begun to run its vCPU. */
export const ThreadState = { starting: 0, running: 1, paused: 2, ended: 3 } as const;
/** What the thread must do. Written by the device thread. `wait`: there is no vCPU yet. */
export const ThreadCommand = { wait: 0, run: 1, pause: 2, stop: 3 } as const;
/** Why the thread ended. Written by the thread before its state. */
export const ThreadEnd = { stopped: 0, exit: 1, error: 2 } as const;

const STATE = 0;
const COMMAND = 1;
const REQUEST = 2;
const TID = 3;
const END = 4;
const EXITS = 16;
/** KVM_EXIT_* numbers go up to 40 today. */
const EXIT_REASONS = 64;
const WORDS = EXITS + EXIT_REASONS;
const NUMBERS_AT = WORDS * 4;
const NUMBERS = 5;
const MESSAGE_AT = NUMBERS_AT + NUMBERS * 8;
const MESSAGE_SIZE = 1024;

/** Index of {@link VcpuShared.words}. */
export const Word = { STATE, COMMAND, REQUEST, TID, END } as const;

/**
 * What a thread needs of its vCPU: the file descriptor, and address and size in bytes of `kvm_run`.
 */
export interface VcpuMapping {
  fd: number;
  runAddress: number;
  runSize: number;
}

/** Memory shared by one vCPU thread and the device thread. */
export class VcpuShared {
  /**
   * Control words: see {@link Word}. REQUEST is 1 while the thread waits for the answer to its
   * exit.
   */
  readonly words: Int32Array;
  /** Exits to user space by KVM_EXIT_* number. Counted by the thread. */
  readonly exits: Int32Array;
  /**
   * The vCPU's file descriptor, address and size of its `kvm_run`, the time when it began to run,
   * and the address of its filter.
   */
  readonly #numbers: Float64Array;
  readonly #message: Uint8Array;

  constructor(readonly buffer = new SharedArrayBuffer(MESSAGE_AT + MESSAGE_SIZE)) {
    this.words = new Int32Array(buffer, 0, WORDS);
    this.exits = this.words.subarray(EXITS, EXITS + EXIT_REASONS);
    this.#numbers = new Float64Array(buffer, NUMBERS_AT, NUMBERS);
    this.#message = new Uint8Array(buffer, MESSAGE_AT, MESSAGE_SIZE);
  }

  load(word: number): number {
    return Atomics.load(this.words, word);
  }

  /**
   * Waits until the thread has loaded its program, and waits for its vCPU. Returns false if it has
   * not after that time.
   */
  waitForThread(milliseconds: number): boolean {
    return Atomics.wait(this.words, TID, 0, milliseconds) !== 'timed-out';
  }

  /** Writes a word and wakes the thread that waits for it. */
  store(word: number, value: number): void {
    Atomics.store(this.words, word, value);
    Atomics.notify(this.words, word);
  }

  /** The vCPU to run. Set before the command to run it. */
  get vcpu(): VcpuMapping {
    const [fd = -1, runAddress = 0, runSize = 0] = this.#numbers;
    return { fd, runAddress, runSize };
  }

  set vcpu({ fd, runAddress, runSize }: VcpuMapping) {
    this.#numbers.set([fd, runAddress, runSize]);
  }

  /**
   * When the vCPU began to run, in milliseconds since the epoch; 0 before that. Set before the
   * state.
   */
  get startTime(): number {
    return this.#numbers[3] ?? 0;
  }

  set startTime(time: number) {
    this.#numbers[3] = time;
  }

  /** The address of the filter that the thread adds when it goes on after a pause; 0: none. */
  get filter(): number {
    return this.#numbers[4] ?? 0;
  }

  set filter(address: number) {
    this.#numbers[4] = address;
  }

  /** Counts an exit to user space. A reason without a counter is not counted. */
  countExit(reason: number): void {
    const count = this.exits[reason];
    if (count !== undefined) this.exits[reason] = count + 1;
  }

  /** The error message of a thread that ended by an error. */
  get message(): string {
    const text = Buffer.from(this.#message).toString();
    return text.slice(0, text.indexOf('\0'));
  }

  set message(text: string) {
    this.#message.set(Buffer.from(text).subarray(0, MESSAGE_SIZE - 1));
  }
}

/** Memory shared by all threads of a machine. */
export class MachineShared {
  /** The eventfd that wakes the device thread, and the number of devices. */
  readonly words: Int32Array;
  /**
   * InterruptStatus of each virtio-mmio device (virtio 1.2, 4.2.2). The driver reads it at each
   * interrupt.
   */
  readonly interruptStatus: Int32Array;

  constructor(readonly buffer = new SharedArrayBuffer((2 + MAX_MMIO_DEVICES) * 4)) {
    this.words = new Int32Array(buffer, 0, 2);
    this.interruptStatus = new Int32Array(buffer, 8, MAX_MMIO_DEVICES);
  }

  get wakeFd(): number {
    return this.words[0] ?? -1;
  }

  set wakeFd(fd: number) {
    this.words[0] = fd;
  }

  get deviceCount(): number {
    return this.words[1] ?? 0;
  }

  set deviceCount(count: number) {
    this.words[1] = count;
  }
}

/** `workerData` of a vCPU thread. */
export interface VcpuWorkerData {
  vcpu: SharedArrayBuffer;
  machine: SharedArrayBuffer;
}
