// Descriptors of a companion, and pipes from it to its machine process.
import { closeSync, fchmodSync } from 'node:fs';
import * as libc from '../../vmm/host/libc.js';
import { FIRST_COMPANION_FD } from './jail.js';
import type { MachineFiles } from './machine-files.js';

/** Creates a pipe that the machine process reads, and returns the other end. */
export function readByMachine(files: MachineFiles, name: string): number {
  const [read, write] = libc.createPipe();
  // QEMU opens its log again, by /dev/fd, and may have a user of its own.
  fchmodSync(write, 0o666);
  files.add(name, read);
  return write;
}

/** Descriptors of this process, on their way to the companion. */
export class Descriptors implements Disposable {
  readonly all: number[] = [];

  /** Takes ownership of a descriptor. Returns its number in the companion. */
  add(fd: number): number {
    return FIRST_COMPANION_FD + this.all.push(fd) - 1;
  }

  [Symbol.dispose](): void {
    for (const fd of this.all.splice(0)) closeSync(fd);
  }
}
