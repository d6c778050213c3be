// QEMU's arguments for a machine with our devices: CPUs, interrupt controllers, a timer, a serial
// port, and virtio-mmio transports that reach our devices over vhost-user. QEMU,
// docs/system/i386/microvm.rst.

import { FS_QUEUE_SIZE, FS_TAG, type MachineSpec, type NetworkSpec } from '../machine.js';

/**
 * The virtio-mmio transports of QEMU's microvm: addresses, sizes and interrupt lines (QEMU,
 * hw/i386/microvm.c).
 */
export const TRANSPORT_BASE = 0xfeb00000;
export const TRANSPORT_SIZE = 512;
export const TRANSPORT_FIRST_IRQ = 5;

/** As on a PC with an I/O APIC, the timer's line is not pin 0 (QEMU, hw/intc/ioapic.c). */
export const TIMER_PIN = 2;

/**
 * With room for only one CPU, the emulator drops the guest's memory barriers, as if no device ran
 * beside it (QEMU, accel/tcg/tcg-accel-ops-mttcg.c). A kick or an interrupt is then lost, and the
 * guest waits forever.
 */
const ORDERED_CPUS = 2;

/**
 * MiB of translated code, after which the emulator begins anew. Its own limit is an eighth of the
 * host's memory, which a guest could fill.
 */
const TRANSLATED_CODE = 256;

/** QEMU's unit of memory size: 8 KiB. */
const MEMORY_UNIT = 8192;

/** Bytes of memory of an emulated machine. */
export function emulatedMemory({ memory }: Pick<MachineSpec, 'memory'>): number {
  return Math.floor(memory / MEMORY_UNIT) * MEMORY_UNIT;
}

export interface QemuSpec {
  cpus: number;
  /** Size in bytes, a multiple of 8 KiB; and the descriptor of its file, as numbered in QEMU. */
  memory: { size: number; fd: number };
  /**
   * Descriptor of the firmware's file, as numbered in QEMU. The firmware is the 64 KiB that end at
   * 4 GiB.
   */
  firmwareFd: number;
  /** Descriptor to which QEMU writes each reset of a CPU. */
  logFd: number;
  devices: readonly ConnectedDevice[];
}

/** A device of ours behind a vhost-user front-end of QEMU's, by its name (VirtioDevice). */
export type QemuDevice = { name: 'blk' | 'vsock' | 'rng' | 'fs' } | { name: 'net'; network: NetworkSpec };

/** A device and its vhost-user socket: a connected descriptor of QEMU's, or a path. */
export interface ConnectedDevice {
  device: QemuDevice;
  socket: { fd: number } | { path: string };
}

/**
 * The devices of an emulated machine in the order in which the guest finds them, as the machine
 * process creates them (vmm/accel/devices.ts). QEMU's own balloon comes after them.
 */
export function qemuDevices({ disks, shares = [], network, wires = [] }: MachineSpec): QemuDevice[] {
  return [
    ...disks.map(() => ({ name: 'blk' }) as const),
    { name: 'vsock' },
    { name: 'rng' },
    ...(shares.length > 0 ? [{ name: 'fs' } as const] : []),
    ...(network === undefined ? [] : [{ name: 'net', network } as const]),
    ...wires.map((wire) => ({ name: 'net', network: wire }) as const),
  ];
}

const FRONT_ENDS = {
  blk: 'vhost-user-blk,num-queues=1',
  vsock: 'vhost-user-vsock-device',
  rng: 'vhost-user-rng',
  fs: `vhost-user-fs-device,tag=${FS_TAG},queue-size=${FS_QUEUE_SIZE}`,
};

/**
 * All that QEMU emulates, but for the promise that copies by single bytes are fast (ERMS): QEMU runs
 * `rep movsb` and `rep stosb` byte by byte, and kernel and C library would copy all by these.
 */
const CPU = 'max,-erms';

/**
 * The only device of QEMU's own: there is no vhost-user front-end for a balloon. It punches holes
 * in the file of guest memory, which is ours, as our balloon would.
 */
const BALLOON = 'free-page-reporting=on,deflate-on-oom=on';

/** Returns the arguments. QEMU's stdout is the serial console. */
export function qemuArguments({ cpus, memory, firmwareFd, logFd, devices }: QemuSpec): string[] {
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    // A guest that takes over QEMU can neither start a program nor gain a privilege.
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    // A kernel that finds no clock chip waits more than a second for it.
    ...['-machine', 'microvm,acpi=off,x-option-roms=off,rtc=on,isa-serial=on,memory-backend=memory'],
    ...['-object', `memory-backend-file,id=memory,size=${memory.size},mem-path=/dev/fd/${memory.fd},share=on`],
    ...['-m', `${memory.size}B`, '-smp', `${cpus},maxcpus=${Math.max(cpus, ORDERED_CPUS)}`, '-cpu', CPU],
    ...['-accel', `tcg,thread=multi,tb-size=${TRANSLATED_CODE}`],
    ...['-bios', `/dev/fd/${firmwareFd}`],
    // The kernel resets the machine through it. Otherwise it would reset by a triple fault, which
    // could not be told from a crash.
    ...['-device', 'i8042'],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-global', 'virtio-mmio.force-legacy=false'],
    ...devices.flatMap(({ device, socket }, index) => {
      const end = 'path' in socket ? `path=${socket.path}` : `fd=${socket.fd}`;
      return ['-chardev', `socket,id=vhost${index},${end}`, ...frontEnd(device, index)];
    }),
    ...['-device', `virtio-balloon-device,${BALLOON},bus=virtio-mmio-bus.${devices.length}`],
    ...['-d', 'cpu_reset', '-D', `/dev/fd/${logFd}`],
  ];
}

/**
 * Features of QEMU's own network device that are switched off: a queue that QEMU serves itself, and
 * the link state, which never changes. If the kernel can ask for the link state, it takes the link
 * as down for up to a second, and has no link-local address until then.
 */
const OWN_FEATURES = [
  ...['ctrl_vq', 'ctrl_rx', 'ctrl_vlan', 'ctrl_rx_extra', 'ctrl_mac_addr', 'ctrl_guest_offloads', 'guest_announce'],
  'status',
];

/**
 * Returns true if QEMU connects to the device of this name by path. It takes no descriptor for a network device.
 */
export function connectsByPath(name: string): boolean {
  return name === 'net';
}

function frontEnd(device: QemuDevice, index: number): string[] {
  const bus = `bus=virtio-mmio-bus.${index}`;
  if (device.name === 'net') return netFrontEnd(device.network, index, bus);
  return ['-device', `${FRONT_ENDS[device.name]},chardev=vhost${index},${bus}`];
}

/** QEMU keeps the configuration space of a network device itself, so the values are arguments. */
function netFrontEnd({ mac, mtu }: NetworkSpec, index: number, bus: string): string[] {
  const without = OWN_FEATURES.map((feature) => `${feature}=off`);
  const own = [`mac=${mac}`, `host_mtu=${mtu}`, ...without].join(',');
  return [
    ...['-netdev', `vhost-user,id=net${index},chardev=vhost${index}`],
    ...['-device', `virtio-net-device,netdev=net${index},${own},${bus}`],
  ];
}
