// What levels of other virtual machine monitors are started with, as far as it can be judged without
// the monitors: Firecracker and Cloud Hypervisor are no packages of Debian.
import { expect, test } from 'vitest';
import { levelsOf } from '../../../compare/index.js';
import { cloudHypervisorArguments } from '../../../compare/levels/cloud-hypervisor.js';
import { firecrackerConfiguration } from '../../../compare/levels/firecracker.js';
import { besideFolderServer, kernelWords } from '../../../compare/levels/guest-machine.js';

const FILES = { kernel: '/k/vmlinux', initrd: '/f/initrd', disk: '/f/disk' };
const IDLE = ['/.tsvm-gauge', 'idle'];

test('the gauge is told its channel, its command and the folder by variables of the command line', () => {
  expect(kernelWords({ kernel: 'guest', channel: 'port:gauge', command: IDLE, hasFolder: true, end: 't' })).toBe(
    'console=ttyS0 loglevel=1 panic=-1 rdinit=/boot/gauge tsc=reliable no_timer_check reboot=t GAUGE_CHANNEL=port:gauge GAUGE_COMMAND=/.tsvm-gauge,idle GAUGE_FOLDER=folder',
  );
  const words = { kernel: 'debian', channel: 'vsock:1', hasFolder: false, end: 'off' } as const;
  expect(kernelWords({ ...words, command: IDLE })).toMatch(
    / rdinit=\/boot\/gauge no_timer_check GAUGE_END=off GAUGE_CHANNEL=vsock:1 \S+$/,
  );
  const emulated = { ...words, kernel: 'guest', command: IDLE, tscKhz: 2500000 } as const;
  expect(kernelWords(emulated)).toContain(' tsc=reliable no_timer_check tsc_early_khz=2500000 ');
  for (const bad of ['a b', 'a,b', 'x=y', '', '"']) {
    expect(() => kernelWords({ ...words, command: [bad] })).toThrow(/^its first command cannot have "/);
  }
});

test("Firecracker's configuration has the parts that its API names, and no folder", () => {
  expect(firecrackerConfiguration(FILES, { memory: 2 ** 28, socket: '/f/vsock', command: IDLE })).toEqual({
    'boot-source': {
      kernel_image_path: '/k/vmlinux',
      initrd_path: '/f/initrd',
      boot_args: expect.stringMatching(/ reboot=k GAUGE_CHANNEL=vsock:1024 GAUGE_COMMAND=\/\.tsvm-gauge,idle$/),
    },
    drives: [{ drive_id: 'root', path_on_host: '/f/disk', is_root_device: false, is_read_only: true }],
    'machine-config': { vcpu_count: 1, mem_size_mib: 256 },
    vsock: { guest_cid: 3, uds_path: '/f/vsock' },
  });
});

test('Cloud Hypervisor gets the folder if there is a server for it', () => {
  const given = { memory: 2 ** 28, socket: '/f/vsock', command: IDLE };
  const words = cloudHypervisorArguments(FILES, { ...given, folder: '/f/folder' });
  expect(words).toEqual(expect.arrayContaining(['size=268435456,shared=on', 'path=/f/disk,readonly=on']));
  expect(words.slice(-2)).toEqual(['--fs', 'tag=folder,socket=/f/folder']);
  expect(cloudHypervisorArguments(FILES, { ...given, folder: undefined })).not.toContain('--fs');
});

test('a server of the folder starts before the monitor, which keeps its words', () => {
  const { words } = besideFolderServer({ words: ['vmm', '-a', 'b c'], env: {} }, '/virtiofsd', '/s', '/shared');
  expect(words.slice(0, 2)).toEqual(['sh', '-c']);
  expect(words.slice(3)).toEqual(['sh', '/virtiofsd', '/s', '/shared', 'vmm', '-a', 'b c']);
});

test('a monitor that this host lacks is named with how to get it', async () => {
  const path = process.env.PATH;
  process.env.PATH = '/nonexistent';
  try {
    for (const level of levelsOf(['qemu', 'qemu-microvm', 'firecracker', 'cloud-hypervisor'])) {
      expect(await level.missing()).toEqual({
        reason: expect.stringMatching(/ is not installed$/),
        advice: expect.stringMatching(/^apt-get install qemu-system-x86$|releases, on PATH$/),
      });
    }
  } finally {
    process.env.PATH = path;
  }
});
