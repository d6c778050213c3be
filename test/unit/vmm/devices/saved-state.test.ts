// The checks of saved state, which comes from a disk. An invalid state is refused with the name of
// the wrong field and leaves the device unchanged.

import { constants, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { messageOf } from '../../../../errors/index.js';
import { VirtioBlk } from '../../../../vmm/devices/blk/device.js';
import { VirtioFs } from '../../../../vmm/devices/fs/device.js';
import * as fuse from '../../../../vmm/devices/fs/fuse.js';
import type { FuseState, SavedHandle, SavedInode } from '../../../../vmm/devices/fs/state.js';
import { I8042, I8042_COMMAND_PORT } from '../../../../vmm/devices/i8042.js';
import { VirtioRng } from '../../../../vmm/devices/rng.js';
import { Serial } from '../../../../vmm/devices/serial.js';
import { MachineError } from '../../../../vmm/machine.js';
import type { VirtioDevice } from '../../../../vmm/virtio/device.js';
import { QUEUE_DESC_HIGH, QUEUE_DESC_LOW, QUEUE_SEL } from '../../../../vmm/virtio/mmio/registers.js';
import type { VirtioMmioState } from '../../../../vmm/virtio/mmio/state.js';
import { args, FuseGuest, openShare } from '../../../fixtures/fuse-guest.js';
import { mutations } from '../../../fixtures/state-mutations.js';
import { VirtioDriver } from '../../../fixtures/virtio-driver.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-state-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function throughJson<T>(value: T): T {
  return JSON.parse(JSON.stringify(value));
}

/** Returns the message of the MachineError `bad-snapshot` that `act` throws. */
function refusal(act: () => void): string {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(MachineError);
    expect(error).toMatchObject({ code: 'bad-snapshot' });
    return messageOf(error);
  }
  throw new Error('the state was not refused');
}

/** A transport with its device, or a device without a transport. */
interface Saved {
  save(): unknown;
  restore(state: unknown): void;
}

/** Checks that `target` refuses every mutation of `state` unchanged, and accepts `state` itself. */
function refusesMutations(name: string, state: unknown, target: Saved, nullable?: RegExp): void {
  const before = throughJson(target.save());
  fc.assert(
    fc.property(mutations(state, nullable), (mutation) => {
      expect(refusal(() => target.restore(mutation.state))).toContain(` ${name}${mutation.path}`);
      expect(throughJson(target.save())).toEqual(before);
    }),
    { numRuns: 500 },
  );
  target.restore(state);
}

/** Returns the state of a started device, and a driver for a device that will restore it. */
function states(create: () => VirtioDevice, use: (driver: VirtioDriver) => void = () => {}) {
  const first = new VirtioDriver(create()).start();
  use(first);
  const state = throughJson(first.transport.save());
  first[Symbol.dispose]();
  return { state, driver: new VirtioDriver(create()) };
}

describe('a state with one wrong field is refused', () => {
  test('by a disk', () => {
    const path = join(folder, 'disk');
    writeFileSync(path, Buffer.alloc(4096));
    const spec = { id: 'x', readOnly: false, extents: [{ path, offset: 0, length: 4096 }] };
    const create = () => VirtioBlk.open({ ...spec, rates: { readBytes: 1000 } });
    const { state, driver } = states(create, (first) => first.writeRegister(QUEUE_SEL, 3));
    using target = driver;
    refusesMutations('blk', state, target.transport, /rates/);
    expect(target.transport.save()).toMatchObject({ status: 15, selectors: { queue: 3 } });
  });

  test('by the entropy device, which saves nothing', () => {
    const { state, driver } = states(() => new VirtioRng());
    using target = driver;
    refusesMutations('rng', state, target.transport);
  });

  test('by a file system', () => {
    const state = throughJson(savedFiles());
    using target = new VirtioDriver(VirtioFs.open([openShare({ path: folder, readOnly: false })]));
    refusesMutations('fs', state, target.transport);
  });

  test('by a serial port', () => {
    const line = { write: () => {}, setInterrupt: () => {} };
    const [first, second] = [new Serial(line), new Serial(line)];
    first.receive(Buffer.from('ab'));
    refusesMutations('serial', throughJson(first.save()), second);
  });

  test('by a keyboard controller', () => {
    const [first, second] = [new I8042(() => {}), new I8042(() => {})];
    refusesMutations('i8042', throughJson(first.save()), second);
    first.out(I8042_COMMAND_PORT, 0xaa);
    refusesMutations('i8042', throughJson(first.save()), second, /answer/);
  });
});

describe('a transport refuses a state whose fields are valid but inconsistent', () => {
  test.each<[string, (state: VirtioMmioState) => void, RegExp]>([
    [
      'features that the device does not offer',
      (state) => (state.driverFeatures.low |= 1 << 20),
      /rng\.driverFeatures/,
    ],
    ['a driver older than virtio 1.0', (state) => (state.driverFeatures.high = 0), /rng\.driverFeatures/],
    ['an accepted feature that is unknown', (state) => (state.unknownFeature = true), /rng\.unknownFeature/],
    ['DRIVER_OK before FEATURES_OK', (state) => (state.status &= ~8), /rng\.status/],
    ['an undefined status bit', (state) => (state.status |= 16), /rng\.status/],
    ['rings outside guest memory', (state) => (state.queues[0]!.usedRing = 2 ** 40), /rng\.queues\[0\].*outside/],
    ['a queue above the maximum size', (state) => (state.queues[0]!.size = 1024), /rng\.queues\[0\].*the maximum 64/],
    ['a ready queue without a ring', (state) => (state.queues[0]!.ring = null), /rng\.queues\[0\].*no ring/],
    ['a missing queue', (state) => (state.queues.length = 0), /rng\.queues is not a list of 1$/],
  ])('%s', (_, change, message) => {
    const { state, driver } = states(() => new VirtioRng());
    using target = driver;
    change(state);
    const before = target.transport.save();
    expect(refusal(() => target.transport.restore(state))).toMatch(message);
    expect(target.transport.save()).toEqual(before);
  });
});

test('a transport accepts the state of a queue with the largest address, written several times', () => {
  using first = new VirtioDriver(new VirtioRng());
  first.writeRegister(QUEUE_DESC_HIGH, 0xffffffff);
  for (let count = 0; count < 3; count++) first.writeRegister(QUEUE_DESC_LOW, 0xffffffff);
  using target = new VirtioDriver(new VirtioRng());
  const state = first.transport.save();
  target.transport.restore(throughJson(state));
  expect(target.transport.save()).toEqual(state);
});

/** Returns the state of a file system whose guest has a folder open, and a file in the folder. */
function savedFiles(): VirtioMmioState<FuseState> {
  mkdirSync(join(folder, 'folder'));
  writeFileSync(join(folder, 'folder', 'file'), 'text');
  using guest = FuseGuest.mount([{ path: folder, readOnly: false }]);
  const share = guest.lookup(fuse.FUSE_ROOT_ID, '0').node;
  const directory = guest.lookup(share, 'folder').node;
  const file = guest.lookup(directory, 'file').node;
  guest.request(fuse.FUSE_OPEN, file, args(constants.O_RDWR, 0));
  guest.request(fuse.FUSE_OPENDIR, directory, args(0, 0));
  return guest.transport.save() as VirtioMmioState<FuseState>;
}

describe('a file system refuses a state whose fields are valid but inconsistent', () => {
  const first = (list: SavedInode[]) => list[0]!;
  const open = (list: SavedHandle[]) => list.find(({ isDirectory }) => !isDirectory)!;
  test.each<[string, (state: FuseState) => void, RegExp]>([
    ['a file that is its own parent', ({ inodes }) => (first(inodes).parent = first(inodes).node), /parent/],
    ['a file before its directory', ({ inodes }) => inodes.reverse(), /inodes\[0\]\.parent/],
    ['a file in a file', ({ inodes }) => (first(inodes).type = 0o100000), /inodes\[1\]\.parent/],
    ['two files with the same node', ({ inodes }) => (inodes[1]!.node = first(inodes).node), /inodes\[1\]\.node/],
    ["a file with a share's node", ({ inodes }) => (first(inodes).node = 2), /inodes\[0\]\.node/],
    ['a node that was not assigned yet', (state) => (state.nextNode = first(state.inodes).node), /inodes\[0\]\.node/],
    ["a next node that is a share's", (state) => (state.nextNode = 2), /nextNode/],
    ['a next node without a successor', (state) => (state.nextNode = Number.MAX_SAFE_INTEGER), /nextNode/],
    ['the name ..', ({ inodes }) => (inodes[1]!.name = '..'), /inodes\[1\]\.name/],
    ['a protocol version that is too old', (state) => (state.minor = 12), /minor/],
    ['a duplicate handle', ({ handles }) => (handles[1]!.handle = handles[0]!.handle), /handles\[1\]\.handle/],
    ['a folder open as a file', ({ handles }) => (handles[1]!.isDirectory = false), /handles\[1\]/],
    ['a file with an invalid access mode', ({ handles }) => (open(handles).flags = 3), /handles\[0\]\.flags/],
    ['a file open with O_TRUNC', ({ handles }) => (open(handles).flags |= 0o1000), /handles\[0\]\.flags/],
  ])('%s', (_, change, message) => {
    const state = throughJson(savedFiles());
    change(state.device);
    using target = new VirtioDriver(VirtioFs.open([openShare({ path: folder, readOnly: false })]));
    expect(refusal(() => target.transport.restore(state))).toMatch(message);
  });

  test('a file open for writing in a read-only share', () => {
    const state = throughJson(savedFiles());
    using target = new VirtioDriver(VirtioFs.open([openShare({ path: folder, readOnly: true })]));
    expect(refusal(() => target.transport.restore(state))).toMatch(/handles\[0\]\.flags/);
  });

  test('files of a share that the machine does not have', () => {
    const state = throughJson(savedFiles());
    using target = new VirtioDriver(VirtioFs.open([]));
    expect(refusal(() => target.transport.restore(state))).toMatch(/inodes\[0\]\.parent/);
  });
});
