// Makes a vCPU's thread leave KVM_RUN, without a system call that sends signals and without a
// handler, so that the filter of system calls has neither (accel/system-calls.ts). The device thread
// writes to a pipe, which signals the thread (fcntl(2), F_SETOWN_EX and F_SETSIG). The thread blocks
// the signal except in KVM_RUN (KVM_SET_SIGNAL_MASK), and takes it by reading a signalfd.
import * as libc from '../../host/libc.js';
import { IOCTLS } from '../../kvm/ioctl.js';

/** SIGUSR2, which Node.js does not use. */
const KICK_SIGNAL = 12;
/** `sigset_t` of glibc, and of the kernel. */
const SIGSET_SIZE = 128;
const KERNEL_SIGSET_SIZE = 8;
const KICK_BIT = 1 << (KICK_SIGNAL - 1);
/** `struct signalfd_siginfo`. */
const SIGINFO_SIZE = 128;

const byte = new Uint8Array(1);

/** The device thread's side: kicks one thread. */
export class Kick implements Disposable {
  readonly #ends: [number, number];

  /** @throws libc.SystemError */
  constructor(tid: number) {
    this.#ends = libc.createPipe();
    const [end] = this.#ends;
    libc.check(libc.fcntlPointer(end, libc.F_SETOWN_EX, Int32Array.of(libc.F_OWNER_TID, tid)), 'fcntl');
    libc.check(libc.fcntl(end, libc.F_SETSIG, KICK_SIGNAL), 'fcntl');
    libc.check(libc.fcntl(end, libc.F_SETFL, libc.O_NONBLOCK | libc.O_ASYNC), 'fcntl');
  }

  send(): void {
    const [end, other] = this.#ends;
    libc.write(other, byte, 1);
    // Only a pipe that was empty signals, on some kernels.
    libc.read(end, byte, 1);
  }

  [Symbol.dispose](): void {
    for (const fd of this.#ends) libc.close(fd);
  }
}

/** The thread's side. */
export class KickReceiver {
  readonly #signals: number;
  readonly #info = new Uint8Array(SIGINFO_SIZE);
  readonly #mask = new DataView(new ArrayBuffer(4 + KERNEL_SIGSET_SIZE));

  /** Blocks the signal in this thread. @throws libc.SystemError */
  constructor() {
    // A kick that comes while no vCPU runs would end the process otherwise.
    libc.signal(KICK_SIGNAL, libc.SIG_IGN);
    const kick = new Uint32Array(SIGSET_SIZE / 4);
    const before = new Uint32Array(SIGSET_SIZE / 4);
    kick[0] = KICK_BIT;
    if (libc.pthread_sigmask(libc.SIG_BLOCK, kick, before) !== 0) throw new Error('a signal cannot be blocked');
    this.#signals = libc.check(libc.signalfd(-1, kick, libc.O_NONBLOCK | libc.O_CLOEXEC), 'signalfd');
    this.#mask.setUint32(0, KERNEL_SIGSET_SIZE, true);
    this.#mask.setUint32(4, before[0]! & ~KICK_BIT, true);
    this.#mask.setUint32(8, before[1]!, true);
  }

  /** Lets kicks end KVM_RUN of this vCPU. @throws libc.SystemError */
  attend(vcpu: number): void {
    const mask = new Uint8Array(this.#mask.buffer);
    libc.check(libc.ioctlPointer(vcpu, IOCTLS.KVM_SET_SIGNAL_MASK, mask), 'KVM_SET_SIGNAL_MASK');
  }

  /** Takes the kicks that have come. */
  take(): void {
    libc.read(this.#signals, this.#info, SIGINFO_SIZE);
  }
}
