// The command line of User-Mode Linux: Linux, Documentation/virt/uml/user_mode_linux_howto_v2.rst,
// arch/um/kernel/um_arch.c and arch/um/drivers/virtio_uml.c.
import type { MachineSpec } from '../machine.js';

/** Virtio device types (virtio 1.2, 5). */
const TYPES = { net: 1, blk: 2, rng: 4, balloon: 5, vsock: 19, fs: 26 };

/**
 * The types of the devices of a machine in the order in which the guest finds them, as the machine
 * process creates them (vmm/accel/devices.ts).
 */
export function umlDevices({ disks, shares = [], network, wires = [] }: MachineSpec): number[] {
  return [
    ...disks.map(() => TYPES.blk),
    ...[TYPES.vsock, TYPES.rng],
    ...(shares.length > 0 ? [TYPES.fs] : []),
    ...(network === undefined ? [] : [TYPES.net]),
    ...wires.map(() => TYPES.net),
    TYPES.balloon,
  ];
}

export interface UmlSpec {
  /** Bytes. */
  memory: number;
  /** Path of the initial RAM file system in the kernel's process. */
  initramfs: string;
  /** Types of the virtio devices, in the order in which the guest finds them. */
  devices: readonly number[];
  /** Path of the socket that the kernel connects to once for each device, in their order. */
  socket: string;
  /** If true, the kernel prints its messages; otherwise only its emergencies. */
  console: boolean;
  /** More parameters. */
  commandLine: string;
}

/** What a distribution's kernel would do at each start, and the tuned one does not have. */
const DISTRIBUTION = [
  // It would look for serial ports, and its process has none.
  '8250.nr_uarts=0',
  // It would measure for a second how it best computes RAID 6, of which a container has none. And it
  // would make 64 serial lines, for each of which it would start a program that is not there.
  'initcall_blacklist=raid6_select_algo,ssl_init',
  // It would make 256 terminals of the old kind.
  'pty.legacy_count=0',
  // Its memory's memory is the host's, which swaps it.
  'zswap.enabled=0',
];

/** The kernel's parameters. Its stdout is the console. */
export function umlParameters({ memory, initramfs, devices, socket, console, commandLine }: UmlSpec): string[] {
  return [
    `mem=${memory}`,
    `initrd=${initramfs}`,
    // The first terminal is the console. There are no others, and no port to the host's xterm.
    ...['con=null', 'con0=null,fd:1', 'ssl=null', 'console=tty0'],
    // Without `quiet`, the kernel prints on stderr how it finds its host.
    ...(console ? ['loglevel=7'] : ['quiet', 'loglevel=1']),
    // A reset ends the process. A panic aborts it, after its message.
    ...['noreboot', 'panic=-1'],
    // Turns of a loop of 10 ms, rather than measure them for 0.2 s. On a slower host a wait of a loop
    // is longer than it need be.
    'lpj=25000000',
    // As on the other machines (vmm/boot/command-line.ts, kernels/guest.config).
    ...['rcupdate.rcu_expedited=1', 'fb_tunnels=none', 'dummy.numdummies=0', 'ifb.numifbs=0'],
    ...DISTRIBUTION,
    ...devices.map((type, index) => `virtio_uml.device=${socket}:${type}:${index}`),
    ...commandLine.split(' ').filter((word) => word !== ''),
  ];
}
