// The thread of one vCPU: runs KVM_RUN and answers its exits. It forwards accesses to devices to
// the device thread and waits for the answer. It answers two kinds of access itself: ports and
// addresses that belong to no device, and the two virtio-mmio registers that every interrupt
// touches.
import { workerData } from 'node:worker_threads';
import { messageOf } from '../../../errors/index.js';
import { I8042_COMMAND_PORT, I8042_DATA_PORT } from '../../devices/i8042.js';
import { SERIAL_PORT, SERIAL_PORT_LENGTH } from '../../devices/serial.js';
import * as libc from '../../host/libc.js';
import { filterThread } from '../../host/seccomp.js';
import { KVM_EXIT_INTR, KVM_EXIT_IO, KVM_EXIT_IO_IN, KVM_EXIT_MMIO } from '../../kvm/exits.js';
import { IOCTLS } from '../../kvm/ioctl.js';
import { kvm_run } from '../../kvm/structs.js';
import { INTERRUPT_ACK, INTERRUPT_STATUS } from '../../virtio/mmio/registers.js';
import { KickReceiver } from './kick.js';
import {
  MachineShared,
  MMIO_BASE,
  MMIO_WINDOW,
  ThreadCommand,
  ThreadEnd,
  ThreadState,
  VcpuShared,
  type VcpuWorkerData,
  Word,
} from './vcpu-shared.js';

/** About 20 us. Most answers come sooner, and sleeping and waking by futex costs as much. */
const SPINS = 2000;

const data = workerData as VcpuWorkerData;
const shared = new VcpuShared(data.vcpu);
const machine = new MachineShared(data.machine);

/** Waits until the command changes. */
function waitForCommand(command: number): void {
  while (shared.load(Word.COMMAND) === command) Atomics.wait(shared.words, Word.COMMAND, command);
}

/** Makes the device thread answer the exit, which it finds in `kvm_run`. */
function forward(): void {
  Atomics.store(shared.words, Word.REQUEST, 1);
  libc.signalEventFd(machine.wakeFd);
  for (let spin = 0; spin < SPINS; spin++) {
    if (shared.load(Word.REQUEST) === 0) return;
  }
  while (shared.load(Word.REQUEST) === 1) Atomics.wait(shared.words, Word.REQUEST, 1);
}

function hasPort(port: number): boolean {
  return (
    (port >= SERIAL_PORT && port < SERIAL_PORT + SERIAL_PORT_LENGTH) ||
    port === I8042_DATA_PORT ||
    port === I8042_COMMAND_PORT
  );
}

function answerIo(run: DataView): void {
  if (hasPort(run.getUint16(kvm_run['io.port'], true))) {
    forward();
  } else if (run.getUint8(kvm_run['io.direction']) === KVM_EXIT_IO_IN) {
    const length = run.getUint8(kvm_run['io.size']) * run.getUint32(kvm_run['io.count'], true);
    new Uint8Array(run.buffer, run.getUint32(kvm_run['io.data_offset'], true), length).fill(0xff);
  }
}

function answerMmio(run: DataView): void {
  const high = run.getUint32(kvm_run['mmio.phys_addr'] + 4, true);
  const offset = run.getUint32(kvm_run['mmio.phys_addr'], true) - MMIO_BASE;
  const isWrite = run.getUint8(kvm_run['mmio.is_write']) !== 0;
  if (high !== 0 || offset < 0 || offset >= machine.deviceCount * MMIO_WINDOW) {
    if (!isWrite) new Uint8Array(run.buffer, kvm_run['mmio.data'], 8).fill(0xff);
    return;
  }
  const device = Math.floor(offset / MMIO_WINDOW);
  const register = offset % MMIO_WINDOW;
  const isWord = run.getUint32(kvm_run['mmio.len'], true) === 4;
  if (register === INTERRUPT_STATUS && isWord && !isWrite) {
    run.setUint32(kvm_run['mmio.data'], Atomics.load(machine.interruptStatus, device), true);
  } else if (register === INTERRUPT_ACK && isWord && isWrite) {
    Atomics.and(machine.interruptStatus, device, ~run.getUint32(kvm_run['mmio.data'], true));
  } else {
    forward();
  }
}

let hasFilter = false;

/** Adds the thread's filter, once the device thread has placed it. */
function takeFilter(): void {
  if (hasFilter || shared.filter === 0) return;
  hasFilter = true;
  filterThread(shared.filter);
}

/**
 * Runs the vCPU. Returns true when it is stopped, false when an exit ends it. The device thread
 * finds that exit in `kvm_run`.
 * @throws libc.SystemError if KVM_RUN fails
 */
function runVcpu(kicks: KickReceiver): boolean {
  const { fd, runAddress, runSize } = shared.vcpu;
  kicks.attend(fd);
  const run = new DataView(libc.viewMemory(runAddress, runSize));
  for (;;) {
    if (libc.ioctl(fd, IOCTLS.KVM_RUN, 0) < 0) {
      const errno = libc.errno();
      // EAGAIN: an application processor received its startup interrupt.
      if (errno === libc.EAGAIN) continue;
      if (errno !== libc.EINTR) throw new libc.SystemError('KVM_RUN', errno);
      kicks.take();
      shared.countExit(KVM_EXIT_INTR);
      // `immediate_exit` is set before the signal is sent, so KVM_RUN has completed the last exit
      // and no kick is lost.
      const command = shared.load(Word.COMMAND);
      if (command === ThreadCommand.stop) return true;
      if (command === ThreadCommand.pause) {
        shared.store(Word.STATE, ThreadState.paused);
        waitForCommand(ThreadCommand.pause);
        takeFilter();
        shared.store(Word.STATE, ThreadState.running);
      }
      continue;
    }
    const reason = run.getUint32(kvm_run.exit_reason, true);
    shared.countExit(reason);
    if (reason === KVM_EXIT_MMIO) answerMmio(run);
    else if (reason === KVM_EXIT_IO) answerIo(run);
    else return false;
  }
}

function main(): number {
  try {
    const kicks = new KickReceiver();
    shared.store(Word.TID, libc.gettid());
    waitForCommand(ThreadCommand.wait);
    if (shared.load(Word.COMMAND) === ThreadCommand.stop) return ThreadEnd.stopped;
    shared.startTime = performance.timeOrigin + performance.now();
    shared.store(Word.STATE, ThreadState.running);
    libc.signalEventFd(machine.wakeFd);
    return runVcpu(kicks) ? ThreadEnd.stopped : ThreadEnd.exit;
  } catch (error) {
    shared.message = messageOf(error);
    return ThreadEnd.error;
  }
}

shared.words[Word.END] = main();
shared.store(Word.STATE, ThreadState.ended);
libc.signalEventFd(machine.wakeFd);
// The thread stays until it is told to stop: until then, it may be kicked and the process may be
// filtered. Node.js ends a thread by system calls that the filter forbids, and the process ends
// with the machine.
for (
  let command = shared.load(Word.COMMAND);
  command !== ThreadCommand.stop || shared.filter !== 0;
  command = shared.load(Word.COMMAND)
) {
  Atomics.wait(shared.words, Word.COMMAND, command);
}
