// The kernel command line: Documentation/admin-guide/kernel-parameters.txt.
import { MachineError } from '../machine.js';

/** COMMAND_LINE_SIZE of x86 (arch/x86/include/asm/setup.h): with the NUL at its end. */
const COMMAND_LINE_SIZE = 2048;

/** A virtio-mmio device's window and interrupt line. */
export interface MmioDevice {
  address: number;
  irq: number;
  /** Length of the window, as the kernel takes it; absent: `4K`. */
  length?: string;
}

export interface CommandLineOptions {
  devices: readonly MmioDevice[];
  /** Print the kernel's messages, rather than only its last words. */
  console: boolean;
  /** How the kernel resets the machine: through the i8042 (`k`, the default), or by a triple fault (`t`). */
  reboot?: 'k' | 't';
}

/** The machine's own words. */
export function baseCommandLine({ devices, console, reboot = 'k' }: CommandLineOptions): string {
  return [
    'console=ttyS0',
    console ? 'loglevel=7' : 'loglevel=1',
    // A panic resets the machine at once.
    'panic=-1',
    `reboot=${reboot}`,
    // kvmclock vouches for the TSC; nothing here could watch it.
    'tsc=reliable',
    'no_timer_check',
    // With several CPUs, the grace periods that mounts, namespaces and cgroups wait for take as long as all the rest of a
    // process's start.
    'rcupdate.rcu_expedited=1',
    // No device here needs buffers below 4 GiB: with 6 GiB of memory they cost 65 MiB and half of the boot.
    'swiotlb=noforce',
    // What this machine does not have is not looked for.
    'i8042.noaux',
    'i8042.nokbd',
    '8250.nr_uarts=1',
    ...devices.map(
      ({ address, irq, length = '4K' }) => `virtio_mmio.device=${length}@0x${address.toString(16)}:${irq}`,
    ),
  ].join(' ');
}

/**
 * Joins the machine's words and the spec's own.
 * @throws MachineError `bad-spec` if the kernel can't take them: printable ASCII, 2047 bytes in all.
 */
export function joinCommandLine(base: string, added: string): string {
  if (/[^\x20-\x7e]/.test(added)) {
    throw new MachineError('bad-spec', 'the kernel command line has a character that is not printable ASCII');
  }
  const line = added === '' ? base : `${base} ${added}`;
  if (line.length >= COMMAND_LINE_SIZE) {
    const most = COMMAND_LINE_SIZE - 1;
    throw new MachineError('bad-spec', `the kernel command line is ${line.length} bytes long, ${most} are possible`);
  }
  return line;
}
