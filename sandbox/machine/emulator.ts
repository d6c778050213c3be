// QEMU as the companion of a machine process. The owner of the machine makes what the two share:
// guest memory, the file of the firmware, sockets and pipes.
import { chmodSync, closeSync } from 'node:fs';
import { messageOf } from '../../errors/index.js';
import { O_PATH } from '../../libc/openat2.js';
import { findProgram } from '../../programs/index.js';
import * as libc from '../../vmm/host/libc.js';
import { createMemory } from '../../vmm/host/memory.js';
import {
  COMPANION_CONSOLE,
  COMPANION_LOG,
  COMPANION_START,
  FIRMWARE,
  GUEST_MEMORY,
  listenerName,
  MachineError,
  type MachineSpec,
  qemuNetSocket,
  vhostName,
} from '../../vmm/machine.js';
import {
  type ConnectedDevice,
  connectsByPath,
  emulatedMemory,
  qemuArguments,
  qemuDevices,
} from '../../vmm/outside/qemu-arguments.js';
import { EPOLL_COMPLAINT, qemuProfile } from '../../vmm/outside/qemu-system-calls.js';
import { threadsOf } from '../cgroup/limits.js';
import type { JailReport } from '../jail-report.js';
import { Companion } from './companion.js';
import { Descriptors, readByMachine } from './companion-descriptors.js';
import { MachineFiles } from './machine-files.js';
import { listen, open } from './open-files.js';
import { compileForCompanion } from './system-calls.js';

const PROGRAM = 'qemu-system-x86_64';
const NAME = 'QEMU';

export interface EmulatorOptions {
  isJailed?: boolean;
  path?: string | undefined;
}

/**
 * Makes QEMU ready. It runs once the machine process says so.
 * @param files gets the machine's side
 * @param isJailed the default is true
 * @param path of the program in QEMU's place
 * @throws MachineError `no-accelerator` if QEMU is not installed; `host`
 */
export function readyEmulator(
  spec: MachineSpec,
  files: MachineFiles,
  { isJailed = true, path = findProgram(PROGRAM) }: EmulatorOptions = {},
): Companion {
  if (path === undefined) {
    throw new MachineError('no-accelerator', `${PROGRAM} is not installed: apt-get install qemu-system-x86`);
  }
  using ours = new MachineFiles();
  using theirs = new Descriptors();
  try {
    const shared = (name: string, fd: number): number => {
      ours.add(name, fd);
      return theirs.add(libc.check(libc.fcntl(fd, libc.F_DUPFD_CLOEXEC, 0), 'fcntl'));
    };
    const memory = shared(GUEST_MEMORY, createMemory(emulatedMemory(spec)));
    const firmware = shared(FIRMWARE, libc.check(libc.memfd_create('tsvm-firmware', libc.MFD_CLOEXEC), 'memfd_create'));
    const log = theirs.add(readByMachine(ours, COMPANION_LOG));
    let networks = 0;
    const devices = qemuDevices(spec).map((device, index): ConnectedDevice => {
      if (connectsByPath(device.name)) return { device, socket: listenForQemu(spec, networks++, ours, theirs) };
      const [machines, emulators] = libc.createSocketPair();
      ours.add(vhostName(index), machines);
      return { device, socket: { fd: theirs.add(emulators) } };
    });
    const args = qemuArguments({
      cpus: spec.cpus,
      memory: { size: emulatedMemory(spec), fd: memory },
      firmwareFd: firmware,
      logFd: log,
      devices,
    });
    const descriptors = [...theirs.all];
    const [start, starter] = libc.createPipe();
    theirs.add(start);
    ours.add(COMPANION_START, starter);
    const stdout = readByMachine(ours, COMPANION_CONSOLE);
    theirs.add(stdout);
    const hasNetwork = spec.network !== undefined;
    const filter = compileForCompanion(spec, (others) => qemuProfile(hasNetwork, others));
    const companion = new Companion(
      {
        ...{ name: NAME, path, args, processes: threadsOf(spec.cpus), complaint: EPOLL_COMPLAINT },
        ...(filter === undefined ? {} : { filter }),
      },
      { start, stdout, descriptors, isJailed },
    );
    files.take(ours);
    return companion;
  } catch (cause) {
    if (cause instanceof MachineError) throw cause;
    throw new MachineError('host', `QEMU cannot be started: ${messageOf(cause)}`, { cause });
  }
}

/** What keeps QEMU from this host. Undefined without QEMU or a launcher. It does not run. */
export async function probeEmulatorJail(): Promise<JailReport | undefined> {
  const path = findProgram(PROGRAM);
  if (path === undefined) return undefined;
  const [start, starter] = libc.createPipe();
  const [read, stdout] = libc.createPipe();
  try {
    using companion = new Companion(
      { name: NAME, path, args: [], processes: threadsOf(1) },
      { start, stdout, descriptors: [] },
    );
    return await companion.report;
  } finally {
    for (const fd of [start, starter, read, stdout]) closeSync(fd);
  }
}

/** QEMU takes no descriptor for a network device: it connects to a socket, through the socket's file. */
function listenForQemu(
  { vsock }: MachineSpec,
  index: number,
  ours: MachineFiles,
  theirs: Descriptors,
): { path: string } {
  const socket = qemuNetSocket(vsock.path, index);
  ours.add(listenerName(socket), listen(socket, 'network socket', 1));
  // QEMU may have a user of its own. The folder is closed to others.
  chmodSync(socket, 0o666);
  return { path: `/dev/fd/${theirs.add(open(socket, O_PATH, 'cannot open'))}` };
}
