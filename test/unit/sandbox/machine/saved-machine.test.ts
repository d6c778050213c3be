// A saved machine on the disk: it is there whole or not at all, and whatever differs from what was
// saved is refused in one line that says what.
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sealed } from '../../../../sandbox/home/records.js';
import { fileChecksum, sparseChecksum } from '../../../../sandbox/machine/file-checksum.js';
import { fileDigest } from '../../../../sandbox/machine/file-digest.js';
import {
  checkProgram,
  programIdentity,
  SavedMachine,
  sweepSavedMachine,
  UnfinishedMachine,
} from '../../../../sandbox/machine/saved-machine.js';
import { type MachineSpec, SAVED_MEMORY, SAVED_STATE } from '../../../../vmm/machine.js';

const MEMORY = 8 * 2 ** 20;

let folder: string;
let path: string;
let spec: MachineSpec;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-saved-'));
  path = join(folder, 'suspended');
  writeFileSync(join(folder, 'kernel'), 'a kernel');
  writeFileSync(join(folder, 'disk'), Buffer.alloc(4096));
  spec = {
    accel: 'auto',
    kernel: join(folder, 'kernel'),
    initramfs: join(folder, 'initramfs'),
    commandLine: '',
    cpus: 2,
    memory: MEMORY,
    disks: [{ id: 'layer', readOnly: false, extents: [{ path: join(folder, 'disk'), offset: 0, length: 4096 }] }],
    vsock: { guestCid: 3, path: join(folder, 'vsock') },
    console: false,
    logLevel: 'silent',
  };
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Writes what a machine process would write, and keeps it. */
async function save(): Promise<void> {
  using unfinished = new UnfinishedMachine(path);
  using files = unfinished.files(MEMORY);
  for (const { names, descriptors } of files.all) {
    const fd = (name: string) => descriptors[names.indexOf(name)]!;
    writeSync(fd(SAVED_MEMORY), 'memory', 2 * 2 ** 20);
    writeSync(fd(SAVED_STATE), '{}');
  }
  await unfinished.keep(spec, { process: 7, timeLeft: 1000 }, join(folder, 'disk'));
}

test('a machine is saved by the installation that it is of, and by no other', async () => {
  const own = programIdentity();
  expect(checkProgram(own)).toBe(undefined);
  await save();
  expect(JSON.parse(readFileSync(join(path, 'manifest.json'), 'utf8'))).toMatchObject(own);
  const told = (message: string) => expect.objectContaining({ code: 'snapshot', message });
  expect(() => checkProgram({ ...own, program: 'x' })).toThrow(
    told('the machine is of tsvm 0.1.0, and another build of tsvm 0.1.0 is installed since'),
  );
  expect(() => checkProgram({ ...own, tsvm: 'tsvm 0.0.9' })).toThrow(
    told('the machine is of tsvm 0.0.9, and tsvm 0.1.0 is installed since'),
  );
});

test('what was saved is found again, and is gone once it continues', async () => {
  await save();
  // 2 MiB of memory before the first byte are a hole.
  expect(statSync(join(path, 'memory')).blocks * 512).toBeLessThan(2 ** 20);
  expect(statSync(path).mode & 0o777).toBe(0o700);
  const saved = await SavedMachine.open(path, spec);
  using files = saved.files;
  expect(saved.container).toEqual({ process: 7, timeLeft: 1000 });
  const { names, descriptors } = files.all[0]!;
  const text = Buffer.alloc(6);
  readSync(descriptors[names.indexOf(SAVED_MEMORY)]!, text, 0, 6, 2 * 2 ** 20);
  expect(text.toString()).toBe('memory');
  saved.remove();
  expect(readdirSync(folder).sort()).toEqual(['disk', 'kernel']);
  // The machine that has the files keeps their contents.
  expect(readSync(descriptors[names.indexOf(SAVED_STATE)]!, text, 0, 6, 0)).toBe(2);
});

test('what it takes of the disk is counted, without holes', async () => {
  using unfinished = new UnfinishedMachine(path);
  using files = unfinished.files(MEMORY);
  expect(unfinished.written).toBe(0);
  const { names, descriptors } = files.all[0]!;
  const bytes = Buffer.alloc(2 ** 20, 1);
  for (const name of [SAVED_MEMORY, SAVED_STATE])
    writeSync(descriptors[names.indexOf(name)]!, bytes, 0, 2 ** 20, 2 ** 20);
  expect(unfinished.written).toBeGreaterThanOrEqual(2 * 2 ** 20);
  expect(unfinished.written).toBeLessThan(4 * 2 ** 20);
});

test('what is not kept is gone, and what a killed process left is swept', async () => {
  {
    using unfinished = new UnfinishedMachine(path);
    unfinished.files(MEMORY)[Symbol.dispose]();
  }
  expect(existsSync(path)).toBe(false);
  expect(readdirSync(folder).sort()).toEqual(['disk', 'kernel']);
  new UnfinishedMachine(path).files(MEMORY)[Symbol.dispose]();
  expect(readdirSync(folder)).toContain('suspended.new');
  sweepSavedMachine(path);
  expect(readdirSync(folder).sort()).toEqual(['disk', 'kernel']);
});

test('a process that still has the files open cannot change what was replaced', async () => {
  using unfinished = new UnfinishedMachine(path);
  using files = unfinished.files(MEMORY);
  const { names, descriptors } = files.all[0]!;
  const memory = descriptors[names.indexOf(SAVED_MEMORY)]!;
  writeSync(memory, 'memory', 2 * 2 ** 20);
  await unfinished.replaceFiles();
  writeSync(memory, 'change', 2 * 2 ** 20);
  await unfinished.keep(spec, { process: 7, timeLeft: null }, undefined);
  expect(
    readFileSync(join(path, 'memory'))
      .subarray(2 * 2 ** 20, 2 * 2 ** 20 + 6)
      .toString(),
  ).toBe('memory');
  expect(readdirSync(path).sort()).toEqual(['manifest.json', 'memory', 'state.json']);
});

test('a clone has addresses of its own, and nothing else', async () => {
  const withNetwork = (mac: string, mtu: number) =>
    ({
      ...spec,
      network: { mac, mtu, gatewayMac: '02:00:00:00:00:09', addresses: [mac], gateways: [] },
    }) as unknown as MachineSpec;
  spec = withNetwork('02:00:00:00:00:01', 1500);
  await save();
  const open = (other: MachineSpec, isClone: boolean) =>
    SavedMachine.open(path, other, isClone).then(
      ({ files }) => files[Symbol.dispose](),
      (error) => error.message,
    );
  expect(await open(withNetwork('02:00:00:00:00:02', 1500), true)).toBeUndefined();
  expect(await open(withNetwork('02:00:00:00:00:02', 1500), false)).toBe('the machine was saved with other addresses');
  expect(await open(withNetwork('02:00:00:00:00:02', 9000), true)).toBe('the machine was saved with other network');
});

describe('refused in one line is', () => {
  const refusal = () =>
    SavedMachine.open(path, spec).then(
      ({ files }) => {
        files[Symbol.dispose]();
        return 'nothing';
      },
      (error) => `${error.code}: ${error.message.replaceAll(folder, '')}`,
    );

  const damages: [string, () => void, string][] = [
    ['a missing folder', () => rmSync(path, { recursive: true }), 'the saved machine has no whole manifest.json'],
    [
      'a manifest cut short',
      () => truncateSync(join(path, 'manifest.json'), 100),
      'the saved machine has no whole manifest.json',
    ],
    [
      'memory cut short',
      () => truncateSync(join(path, 'memory'), MEMORY - 1),
      'the saved machine is damaged: /suspended/memory has 8388607 bytes',
    ],
    [
      'a byte of memory that differs',
      () => flip('memory', 2 * 2 ** 20),
      'the saved machine is damaged: /suspended/memory has another checksum',
    ],
    [
      'a byte in a hole of memory',
      () => flip('memory', 5 * 2 ** 20),
      'the saved machine is damaged: /suspended/memory has another checksum',
    ],
    [
      'a byte of the state that differs',
      () => flip('state.json', 1),
      'the saved machine is damaged: /suspended/state.json has another checksum',
    ],
    [
      'a missing file',
      () => rmSync(join(path, 'state.json')),
      "ENOENT: no such file or directory, open '/suspended/state.json'",
    ],
    [
      'another version',
      () => change({ version: 3 }),
      'the saved machine has version 3, not 4: another release of tsvm made it',
    ],
    [
      'a field of the manifest that differs',
      () => {
        const text = readFileSync(join(path, 'manifest.json'), 'utf8');
        writeFileSync(join(path, 'manifest.json'), text.replace('"timeLeft":1000', '"timeLeft":9000'));
      },
      'the saved machine is damaged: its manifest.json has another SHA-256',
    ],
    [
      'a field of another version',
      () => change({ more: 1 }),
      'the saved state is damaged or of another version: manifest.more is not a field of this version',
    ],
    [
      'one of another tsvm',
      () => change({ tsvm: 'tsvm 9.9.9' }),
      'the machine was saved by tsvm 9.9.9, and this is tsvm 0.1.0',
    ],
    [
      'one of another build',
      () => change({ program: 'x', programFile: 'x' }),
      'the machine was saved by another build of tsvm 0.1.0',
    ],
    [
      'one of a CPU with other features',
      () => change({ features: 'fpu' }),
      'the machine was saved on a CPU with other features',
    ],
    [
      'one of another kernel',
      () => writeFileSync(spec.kernel, 'another kernel'),
      "the machine was saved with another guest's kernel",
    ],
    [
      'one of more CPUs',
      () => {
        spec = { ...spec, cpus: 1 };
      },
      'the machine was saved with other cpus',
    ],
    [
      'one with another disk',
      () => {
        spec = { ...spec, disks: [] };
      },
      'the machine was saved with other disks',
    ],
    [
      'one without a share',
      () => {
        spec = { ...spec, shares: [{ path: '/srv', readOnly: true }] };
      },
      'the machine was saved with other shares',
    ],
  ];
  test.each(damages)('%s', async (_, damage, message) => {
    await save();
    damage();
    expect(await refusal()).toBe(`snapshot: ${message}`);
  });

  test('one of another CPU', async () => {
    await save();
    change({ cpu: 'Other family 1 model 2 stepping 3' });
    expect(await refusal()).toMatch(
      /^snapshot: the machine was saved on another CPU: Other family 1 model 2 stepping 3, not \S/,
    );
  });

  function flip(file: string, at: number): void {
    const bytes = readFileSync(join(path, file));
    bytes[at]! ^= 1;
    writeFileSync(join(path, file), bytes);
  }

  function change(changes: object): void {
    const { sha256, ...manifest } = JSON.parse(readFileSync(join(path, 'manifest.json'), 'utf8'));
    writeFileSync(join(path, 'manifest.json'), JSON.stringify(sealed({ ...manifest, ...changes })));
  }

  test('any bit that differs, and any length, in each file', async () => {
    await save();
    const damage = fc.record({
      file: fc.constantFrom('manifest.json', 'memory', 'state.json'),
      place: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      bit: fc.option(fc.nat(7)),
    });
    await fc.assert(
      fc.asyncProperty(damage, async ({ file, place, bit }) => {
        const whole = readFileSync(join(path, file));
        const at = Math.floor(place * whole.length);
        const bytes = Buffer.from(bit === null ? whole.subarray(0, at) : whole);
        if (bit !== null) bytes[at]! ^= 1 << bit;
        rmSync(join(path, file));
        writeFileSync(join(path, file), bytes);
        expect(await refusal()).toMatch(/^snapshot: [^\n]+$/);
        writeFileSync(join(path, file), whole);
        expect(await refusal()).toBe('nothing');
      }),
      { examples: [[{ file: 'memory', place: 0.25, bit: 0 }]] },
    );
  });
});

test('digest and checksum of a file are those of its size, whatever follows', async () => {
  expect(await fileChecksum('/dev/zero')).toEqual({ size: 0, crc32: 0 });
  expect(await fileDigest('/dev/zero')).toEqual({ size: 0, sha256: createHash('sha256').digest('hex') });
});

test('a copy of a sparse file whose holes are filled has the same checksum', async () => {
  await save();
  const memory = join(path, 'memory');
  const before = await sparseChecksum(memory);
  writeFileSync(join(folder, 'copy'), readFileSync(memory));
  expect(await sparseChecksum(join(folder, 'copy'))).toEqual(before);
  truncateSync(join(folder, 'copy'), MEMORY + 4096);
  expect((await sparseChecksum(join(folder, 'copy'))).crc32).not.toBe(before.crc32);
});
