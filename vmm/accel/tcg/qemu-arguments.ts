// QEMU's command line for a machine whose devices are ours: CPUs, interrupt controllers, a timer, a serial port, and
// virtio-mmio transports that reach our devices over vhost-user. QEMU, docs/system/i386/microvm.rst.

import { FS_QUEUE_SIZE, FS_TAG } from '../../devices/fs/device.js';
import { VirtioNet } from '../../devices/net/device.js';
import type { VirtioDevice } from '../../virtio/device.js';

/** virtio-mmio transports of QEMU's microvm: where they are, and their interrupt lines (QEMU, hw/i386/microvm.c). */
export const TRANSPORT_BASE = 0xfeb00000;
export const TRANSPORT_SIZE = 512;
export const TRANSPORT_FIRST_IRQ = 5;

/** As on a PC with an IO-APIC, the timer's line is not pin 0 (QEMU, hw/intc/ioapic.c). */
export const TIMER_PIN = 2;

/**
 * The emulator leaves a guest's memory barriers out where there can be one CPU only, as if no device ran beside it
 * (QEMU, accel/tcg/tcg-accel-ops-mttcg.c): a kick or an interrupt gets lost then, and the guest waits for ever.
 */
const ORDERED_CPUS = 2;

export interface QemuSpec {
  cpus: number;
  /** Bytes, a multiple of 8 KiB. */
  memory: number;
  devices: readonly VirtioDevice[];
  /** Descriptors as they are numbered in QEMU. */
  fds: {
    memory: number;
    /** 64 KiB that end at 4 GiB. */
    firmware: number;
    /** A connected socket for each device but those that QEMU connects to itself. */
    devices: readonly number[];
  };
  /** Where the network device listens: QEMU takes no descriptor for that. */
  netSocket: string;
}

/** QEMU's names of devices, by ours. */
const FRONT_ENDS: Record<string, string> = {
  blk: 'vhost-user-blk,num-queues=1',
  vsock: 'vhost-user-vsock-device',
  rng: 'vhost-user-rng',
  fs: `vhost-user-fs-device,tag=${FS_TAG},queue-size=${FS_QUEUE_SIZE}`,
};

/**
 * The one device that is QEMU's own: there is no vhost-user front-end for a balloon. It makes holes in the guest's memory,
 * which is ours, as our own would.
 */
const BALLOON = 'free-page-reporting=on,deflate-on-oom=on';

/** The serial console is QEMU's stdout. */
export function qemuArguments({ cpus, memory, devices, fds, netSocket }: QemuSpec): string[] {
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    // Nothing that a guest makes of QEMU starts a program or gains a right.
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    // A kernel that finds no clock chip waits for it for more than a second.
    ...['-machine', 'microvm,acpi=off,x-option-roms=off,rtc=on,isa-serial=on,memory-backend=memory'],
    ...['-object', `memory-backend-file,id=memory,size=${memory},mem-path=/dev/fd/${fds.memory},share=on`],
    ...['-m', `${memory}B`, '-smp', `${cpus},maxcpus=${Math.max(cpus, ORDERED_CPUS)}`, '-cpu', 'max'],
    ...['-accel', 'tcg,thread=multi'],
    ...['-bios', `/dev/fd/${fds.firmware}`],
    // With which the kernel resets the machine: else it would do so by a triple fault, and none would be a crash.
    ...['-device', 'i8042'],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-global', 'virtio-mmio.force-legacy=false'],
    ...devices.flatMap((device, index) => [
      ...[
        '-chardev',
        `socket,id=vhost${index},${hasSocket(device) ? `path=${netSocket}` : `fd=${fds.devices[index]}`}`,
      ],
      ...frontEnd(device, index),
    ]),
    ...['-device', `virtio-balloon-device,${BALLOON},bus=virtio-mmio-bus.${devices.length}`],
  ];
}

/**
 * What QEMU offers of its own: a queue that it serves itself, and the link's state, which never changes. With a state to
 * ask for, the guest's kernel takes the link for down for up to a second, and has no link-local address as long.
 */
const OWN_FEATURES = [
  ...['ctrl_vq', 'ctrl_rx', 'ctrl_vlan', 'ctrl_rx_extra', 'ctrl_mac_addr', 'ctrl_guest_offloads', 'guest_announce'],
  'status',
];

/** Whether QEMU connects to the device, rather than being given a connection. */
export function hasSocket(device: VirtioDevice): device is VirtioNet {
  return device instanceof VirtioNet;
}

function frontEnd(device: VirtioDevice, index: number): string[] {
  const place = `bus=virtio-mmio-bus.${index}`;
  if (!hasSocket(device)) {
    return ['-device', `${FRONT_ENDS[device.name]},chardev=vhost${index},${place}`];
  }
  // QEMU keeps the configuration space of a network device itself.
  const { mac, mtu } = device.spec;
  const without = OWN_FEATURES.map((feature) => `${feature}=off`);
  const own = [`mac=${mac}`, `host_mtu=${mtu}`, ...without].join(',');
  return [
    ...['-netdev', `vhost-user,id=net${index},chardev=vhost${index}`],
    ...['-device', `virtio-net-device,netdev=net${index},${own},${place}`],
  ];
}
