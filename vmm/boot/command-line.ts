// The kernel command line: Documentation/admin-guide/kernel-parameters.txt.
import { MachineError } from '../machine.js';

/** COMMAND_LINE_SIZE of x86 (arch/x86/include/asm/setup.h), which includes the NUL at the end. */
const COMMAND_LINE_SIZE = 2048;

/** The window and the interrupt line of a virtio-mmio device. */
export interface MmioDevice {
  address: number;
  irq: number;
  /** Length of the window in bytes. */
  length: number;
}

export interface CommandLineOptions {
  /** Absent: a distribution's kernel, which finds them in ACPI tables. */
  devices?: readonly MmioDevice[];
  /** If true, the kernel prints its messages; otherwise only its emergencies. */
  console: boolean;
  /**
   * How the kernel resets the machine: through the i8042 (`k`, the default) or by a triple fault
   * (`t`).
   */
  reboot?: 'k' | 't';
}

/** What the tuned kernel has as its configuration. */
const DISTRIBUTION = [
  // A guest that is broken ends.
  'oops=panic',
  // Tests of each cipher at each boot take a third of it.
  'cryptomgr.notests',
];

/** Returns the parameters that every machine needs. */
export function baseCommandLine({ devices, console, reboot = 'k' }: CommandLineOptions): string {
  return [
    'console=ttyS0',
    console ? 'loglevel=7' : 'loglevel=1',
    // A panic resets the machine at once.
    'panic=-1',
    `reboot=${reboot}`,
    // kvmclock guarantees the TSC, and this machine has no clock that could check it.
    'tsc=reliable',
    'no_timer_check',
    // With several CPUs, the grace periods of mounts, namespaces and cgroups take as long as the
    // rest of a process start.
    'rcupdate.rcu_expedited=1',
    // No device here needs buffers below 4 GiB. With 6 GiB of memory they cost 65 MiB and half of
    // the boot time.
    'swiotlb=noforce',
    // Per-CPU memory in units of 2 MiB has 4 MiB of accounts for each unit after the first.
    'percpu_alloc=page',
    // The kernel does not probe for devices that this machine does not have.
    'i8042.noaux',
    'i8042.nokbd',
    '8250.nr_uarts=1',
    ...(devices === undefined ? DISTRIBUTION : []),
    ...(devices ?? []).map(
      ({ address, irq, length }) => `virtio_mmio.device=${length}@0x${address.toString(16)}:${irq}`,
    ),
  ].join(' ');
}

/**
 * Joins the machine's parameters and those of the spec.
 * @throws MachineError `bad-spec` if the kernel cannot take them: it takes printable ASCII, at most
 * 2047 bytes
 */
export function joinCommandLine(base: string, added: string): string {
  if (/[^\x20-\x7e]/.test(added)) {
    throw new MachineError('bad-spec', 'the kernel command line has a character that is not printable ASCII');
  }
  const line = added === '' ? base : `${base} ${added}`;
  if (line.length >= COMMAND_LINE_SIZE) {
    const most = COMMAND_LINE_SIZE - 1;
    throw new MachineError(
      'bad-spec',
      `the kernel command line is ${line.length} bytes long; the kernel takes at most ${most}`,
    );
  }
  return line;
}
