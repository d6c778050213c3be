// User-Mode Linux as the companion of a machine process: a kernel that is a program. It makes the
// file of its memory in its jail, and shares it with the devices when it connects to them.
import { chmodSync, closeSync, openSync, writeSync } from 'node:fs';
import { messageOf } from '../../errors/index.js';
import { O_PATH } from '../../libc/openat2.js';
import * as libc from '../../vmm/host/libc.js';
import {
  COMPANION_CONSOLE,
  COMPANION_START,
  listenerName,
  MachineError,
  type MachineSpec,
  umlSocket,
} from '../../vmm/machine.js';
import { umlDevices, umlParameters } from '../../vmm/outside/uml-arguments.js';
import { umlProfile } from '../../vmm/outside/uml-system-calls.js';
import { UML_PROCESSES } from '../cgroup/limits.js';
import { Companion } from './companion.js';
import { Descriptors, readByMachine } from './companion-descriptors.js';
import { SCRATCH } from './jail.js';
import { MachineFiles } from './machine-files.js';
import { listen, open } from './open-files.js';
import { compileForCompanion } from './system-calls.js';

/** Bytes of files beside the memory's: the kernel's own image is part of its memory, and rounded up. */
const MORE_SCRATCH = 64 * 2 ** 20;

/**
 * Bytes of the kernel's first stack. The processes of the guest's programs begin with a copy of it,
 * which such a program can make grow: that is memory of the host beside the guest's.
 */
const STACK = 256 * 1024;

/**
 * Makes the kernel ready. It runs once the machine process says so, which checks before that it is
 * a kernel of this kind.
 * @param files gets the machine's side
 * @throws MachineError `host`
 */
export function readyUml(spec: MachineSpec, files: MachineFiles, isJailed: boolean): Companion {
  using ours = new MachineFiles();
  using theirs = new Descriptors();
  try {
    const path = umlSocket(spec.vsock.path);
    const devices = umlDevices(spec);
    ours.add(listenerName(path), listen(path, 'device socket', devices.length));
    // It may have a user of its own. The folder of the socket is closed to others.
    chmodSync(path, 0o666);
    const socket = theirs.add(open(path, O_PATH, 'cannot open'));
    const initramfs = theirs.add(archives(spec));
    const { memory, console, commandLine } = spec;
    const args = umlParameters({
      ...{ memory, console, commandLine, devices },
      socket: `/dev/fd/${socket}`,
      initramfs: `/dev/fd/${initramfs}`,
    });
    const descriptors = [...theirs.all];
    const [start, starter] = libc.createPipe();
    theirs.add(start);
    ours.add(COMPANION_START, starter);
    const stdout = readByMachine(ours, COMPANION_CONSOLE);
    theirs.add(stdout);
    const filter = compileForCompanion(spec, umlProfile);
    const companion = new Companion(
      {
        name: 'User-Mode Linux',
        path: spec.kernel,
        args,
        environment: { TMPDIR: SCRATCH, HOME: SCRATCH },
        // What its console reads.
        devices: ['null'],
        scratch: memory + MORE_SCRATCH,
        stack: STACK,
        processes: UML_PROCESSES,
        ...(filter === undefined ? {} : { filter }),
        hasFixedAddresses: true,
      },
      { start, stdout, descriptors, isJailed },
    );
    files.take(ours);
    return companion;
  } catch (cause) {
    if (cause instanceof MachineError) throw cause;
    throw new MachineError('host', `User-Mode Linux cannot be started: ${messageOf(cause)}`, { cause });
  }
}

/** The kernel looks for the next archive at the next such offset. */
const ALIGNMENT = 4;

/** Bytes that one call copies at most. */
const MAX_COPY = 2 ** 30;

/**
 * The archives of the initial RAM file system, one after the other, in a file that is in no folder.
 * Every user may open it by its descriptor, which is the caller's.
 */
function archives({ initramfs, modules }: MachineSpec): number {
  const fd = libc.check(libc.memfd_create('tsvm-companion', libc.MFD_CLOEXEC), 'memfd_create');
  try {
    const length = append(fd, initramfs);
    if (modules !== undefined) {
      writeSync(fd, Buffer.alloc(-length & (ALIGNMENT - 1)));
      append(fd, modules);
    }
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Appends a file to another one. Returns its length. */
function append(to: number, path: string): number {
  const from = openSync(path, 'r');
  try {
    for (let length = 0; ; ) {
      const copied = libc.check(libc.sendfile(to, from, null, MAX_COPY), `cannot copy ${path}`);
      if (copied === 0) return length;
      length += copied;
    }
  } finally {
    closeSync(from);
  }
}
