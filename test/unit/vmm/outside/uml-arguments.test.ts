// The command line of User-Mode Linux, and the filter of its process.
import { describe, expect, test } from 'vitest';
import { createDevices } from '../../../../vmm/accel/devices.js';
import { OWN_FILES } from '../../../../vmm/host/files.js';
import type { MachineSpec } from '../../../../vmm/machine.js';
import { umlDevices, umlParameters } from '../../../../vmm/outside/uml-arguments.js';

const SPEC: MachineSpec = {
  ...{ accel: 'uml', kernel: '/kernel', initramfs: '/initramfs', commandLine: '', cpus: 1, memory: 2 ** 28 },
  ...{ disks: [], vsock: { guestCid: 3, path: '' }, console: false, logLevel: 'silent' },
};

describe('the devices of User-Mode Linux', () => {
  test('are those that the machine process creates, in its order', () => {
    const disk = { id: 'image', readOnly: true, extents: [{ path: '/etc/passwd', offset: 0, length: 512 }] };
    const spec: MachineSpec = { ...SPEC, disks: [disk, disk] };
    const files = { ...OWN_FILES, listen: () => 0 };
    const { devices } = createDevices(spec, [], 'uml', files, {} as Parameters<typeof createDevices>[4]);
    expect(umlDevices(spec)).toEqual(devices.map(({ type }) => type));
    const network = { addresses: [] } as unknown as NonNullable<MachineSpec['network']>;
    expect(umlDevices({ ...spec, shares: [{ path: '/', readOnly: true }], network })).toEqual([2, 2, 19, 4, 26, 1, 5]);
  });
});

describe('the parameters', () => {
  const parameters = (more: Partial<Parameters<typeof umlParameters>[0]> = {}) =>
    umlParameters({
      ...{ memory: 2 ** 28, initramfs: '/dev/fd/5', devices: [2, 19], socket: '/dev/fd/4', console: false },
      ...{ commandLine: '', ...more },
    });

  test('name each device with its place, and the memory in bytes', () => {
    expect(parameters()).toEqual(
      expect.arrayContaining([
        'mem=268435456',
        'initrd=/dev/fd/5',
        'virtio_uml.device=/dev/fd/4:2:0',
        'virtio_uml.device=/dev/fd/4:19:1',
      ]),
    );
  });

  test('end the process at a reset, and print only emergencies', () => {
    expect(parameters()).toEqual(expect.arrayContaining(['noreboot', 'panic=-1', 'quiet', 'loglevel=1']));
    expect(parameters({ console: true })).not.toContain('quiet');
  });

  test('are followed by those of the machine', () => {
    expect(parameters({ commandLine: 'one  two=2' }).slice(-2)).toEqual(['one', 'two=2']);
  });
});
