// Filters of system calls for threads of this process (seccomp(2)).
import { type BpfInstruction, encodeFilter } from '../../seccomp/bpf.js';
import * as libc from './libc.js';

const SYS_SECCOMP = 317;
const PR_SET_SECCOMP = 22;
const SECCOMP_MODE_FILTER = 2;
const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_FILTER_FLAG_TSYNC = 1;
/** `struct sock_fprog`: u16 length, and the address of the instructions at byte 8. */
const PROGRAM_SIZE = 16;

/**
 * Lays a filter out for the kernel, and returns the address of its `struct sock_fprog`, which any
 * thread of this process may install. The memory is never freed.
 */
export function placeFilter(filter: readonly BpfInstruction[]): number {
  const instructions = encodeFilter(filter);
  const size = PROGRAM_SIZE + instructions.length;
  const flags = libc.MAP_PRIVATE | libc.MAP_ANONYMOUS;
  const address = libc.check(libc.mmap(null, size, libc.PROT_READ | libc.PROT_WRITE, flags, -1, 0), 'mmap');
  const memory = libc.viewMemory(address, size);
  const view = new DataView(memory);
  view.setUint16(0, filter.length, true);
  view.setBigUint64(8, BigInt(address + PROGRAM_SIZE), true);
  new Uint8Array(memory).set(instructions, PROGRAM_SIZE);
  return address;
}

/**
 * Installs a filter on every thread of this process, those of V8 and libuv included, with
 * no_new_privs.
 * @throws libc.SystemError, and then no thread has the filter
 */
export function filterProcess(address: number): void {
  libc.check(libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'prctl');
  const result = libc.syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, address, 0, 0, 0);
  libc.check(result, 'seccomp');
  // The kernel names a thread whose filters are not this thread's.
  if (result > 0) throw new Error(`thread ${result} has a filter of system calls of its own`);
}

/**
 * Adds a filter to those of this thread, by prctl(2), which the filter of a machine with shares has
 * anyway. @throws libc.SystemError
 */
export function filterThread(address: number): void {
  libc.check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, address, 0, 0), 'prctl');
}
