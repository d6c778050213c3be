// The guest's kernel has what software in containers asks of it, for privileged containers and for
// those that are given it, and for no others. The programs are this machine's own: its /usr takes
// the place of the image's.
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { DEBIAN, fastestProcessor, tsvmRun } from './machine.js';

const PROGRAMS = fileURLToPath(new URL('../fixtures/guest-programs', import.meta.url));
const SHARED = ['-v', '/usr:/usr:ro', '-v', `${PROGRAMS}:/programs:ro`];

describe.each(fastestProcessor)('on $name', (machine) => {
  test('a privileged container has each feature, and it works', async () => {
    const options = ['--privileged', '--network', 'none', ...SHARED];
    const { stdout } = await tsvmRun(machine, [...options, DEBIAN, '/programs/kernel-features.sh']);
    expect(stdout.trim().split('\n')).toEqual([
      ...['links', 'no_link_unasked', 'wireguard', 'shaping', 'iptables_legacy', 'iptables_nft', 'nft', 'loop'],
      ...['partitions', 'binfmt_misc', 'pressure', 'config', 'bbr', 'kernel_tls', 'mptcp', 'af_alg', 'key_rings'],
      'io_uring',
    ]);
  });

  test("any other has what needs no privilege, and opens no device but Docker's", async () => {
    const script = [
      'ip link add d0 type dummy; losetup --find; mount -t binfmt_misc none /mnt; python3 /programs/kernel-features.py',
      'cd /dev; mknod control c 10 237; mknod layer b 254 0; for file in control layer zero; do true <$file; done',
    ].join('; ');
    const { stdout } = await tsvmRun(machine, [
      ...['--network', 'none', ...SHARED, DEBIAN, 'sh', '-c'],
      `(${script}) 2>&1`,
    ]);
    expect(stdout.trim().split('\n')).toEqual([
      'RTNETLINK answers: Operation not permitted',
      expect.stringMatching(/^losetup: cannot find an unused loop device/),
      expect.stringMatching(/^mount: \/mnt: permission denied/),
      expect.stringMatching(/dmesg/),
      'bbr',
      'kernel_tls',
      'mptcp',
      'af_alg: OSError: [Errno 97] Address family not supported by protocol',
      'key_rings: OSError: [Errno 38] Function not implemented',
      'io_uring: OSError: [Errno 38] Function not implemented',
      'sh: 1: cannot open control: Operation not permitted',
      'sh: 1: cannot open layer: Operation not permitted',
    ]);
  });

  test('--device gives a device of the guest, and NET_ADMIN interfaces', async () => {
    const script = [
      'stat -c "%n %a %t:%T" /dev/fuse /dev/net/tun /dev/loop3 /disk',
      'ip tuntap add t0 mode tun && ip link add d0 type dummy && echo made',
      'true <>/dev/loop3 && true </dev/fuse && echo opened; true </disk && echo read; true <>/disk',
    ].join('; ');
    const devices = ['/dev/fuse', '/dev/net/tun', '/dev/loop3', '/dev/loop4:/disk:r'];
    const options = ['--cap-add', 'NET_ADMIN', '--network', 'none', ...devices.flatMap((name) => ['--device', name])];
    const { stdout } = await tsvmRun(machine, [...options, ...SHARED, DEBIAN, 'sh', '-c', `(${script}) 2>&1`]);
    expect(stdout).toBe(
      '/dev/fuse 666 a:e5\n/dev/net/tun 666 a:c8\n/dev/loop3 600 7:3\n/disk 600 7:4\nmade\nopened\nread\n' +
        'sh: 1: cannot create /disk: Operation not permitted\n',
    );
    const { code, stderr } = await tsvmRun(machine, ['--device', '/dev/kvm', DEBIAN, 'true']);
    expect(code).toBe(125);
    expect(stderr).toContain("no device /dev/kvm in the guest's kernel; devices of the host cannot be passed on");
  });
});
