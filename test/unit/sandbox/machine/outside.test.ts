// What the owner of a machine refuses before it opens anything for it, and what it closes.
import { closeSync, existsSync, fstatSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MachineOutside } from '../../../../sandbox/machine/outside.js';
import type { MachineSpec } from '../../../../vmm/machine.js';
import { networkSpec, relay } from '../../vmm/devices/net/relay/relay-peer.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-outside-'));
  for (const name of ['kernel', 'initramfs']) writeFileSync(join(folder, name), '');
});
afterAll(() => rmSync(folder, { recursive: true }));

const specOf = (changes: object): MachineSpec => ({
  ...{ accel: 'auto', kernel: join(folder, 'kernel'), initramfs: join(folder, 'initramfs'), commandLine: '' },
  ...{ cpus: 1, memory: 2 ** 27, disks: [], console: false, logLevel: 'silent' },
  vsock: { guestCid: 3, path: join(folder, 'vsock') },
  ...changes,
});
const disk = (rates: object) => ({ id: 'a', readOnly: true, extents: [], rates });

test.each([
  [{ accel: 'xen' }, 'no-accelerator', 'unknown accelerator "xen": use auto, kvm, tcg or uml'],
  [{ cpus: 0 }, 'bad-spec', 'a machine has 1 to 64 CPUs, not 0'],
  [{ cpus: 65 }, 'bad-spec', 'a machine has 1 to 64 CPUs, not 65'],
  [{ memory: 2 ** 20 }, 'bad-spec', 'a machine has 64 MiB to 1048576 MiB of memory, not 1 MiB'],
  [{ memory: 2 ** 27 + 1 }, 'bad-spec', 'memory of 134217729 bytes is not a multiple of 4096'],
  [{ disks: [disk({ readBytes: 0 })] }, 'bad-spec', 'disk a: readBytes is out of range: 0 per second'],
])('a specification with %j is refused: %s', (changes, code, message) => {
  expect(() => new MachineOutside(specOf(changes), [])).toThrow(expect.objectContaining({ code, message }));
  expect(existsSync(join(folder, 'vsock'))).toBe(false);
});

test('the address of a vsock device is checked before its socket is made', () => {
  const path = join(folder, 'vsock');
  const bad = { vsock: { guestCid: 2, path } };
  const long = { vsock: { guestCid: 3, path: join(folder, 'x'.repeat(97)) } };
  const message = "2 is not a guest's vsock CID";
  expect(() => new MachineOutside(specOf(bad), [])).toThrow(expect.objectContaining({ code: 'bad-spec', message }));
  expect(() => new MachineOutside(specOf(long), [])).toThrow(/^vsock path is longer than 96 bytes: /);
  expect(existsSync(path)).toBe(false);
});

test('what is disposed of twice does not close what was opened in between, as by the next machine', () => {
  const ports = [{ protocol: 'udp', address: '127.0.0.1', host: 0, guest: 53, count: 1 } as const];
  const outside = new MachineOutside(specOf({ accel: 'kvm', network: networkSpec(relay({ ports })) }), []);
  outside[Symbol.dispose]();
  rmSync(join(folder, 'vsock'));
  // More than it had.
  const others = Array.from({ length: 64 }, () => openSync('/dev/null', 'r'));
  outside[Symbol.dispose]();
  const closed = others.filter((fd) => {
    try {
      return !fstatSync(fd).isCharacterDevice();
    } catch {
      return true;
    }
  });
  for (const fd of others) if (!closed.includes(fd)) closeSync(fd);
  expect(closed).toEqual([]);
});
