// The budget of a share: what a guest may take of the host's disk, and that the count of it is what
// the host has.
import {
  chmodSync,
  closeSync,
  constants as fs,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { measureTree } from '../../../../../libc/trees.js';
import { openCount, readCount, watchCount } from '../../../../../sandbox/home/volume-count.js';
import { VirtioFs } from '../../../../../vmm/devices/fs/device.js';
import * as fuse from '../../../../../vmm/devices/fs/fuse.js';
import type { ShareBudget } from '../../../../../vmm/machine.js';
import { args, FuseGuest, MAX_WRITE, openShare, refusal } from '../../../../fixtures/fuse-guest.js';

const { EDQUOT, EEXIST } = constants.errno;
const KIB = 1024;
const MIB = 1024 * KIB;

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const RENAME_WHITEOUT = 4;

let base: string;
let data: string;
let count: string;
const guests: FuseGuest[] = [];

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'tsvm-budget-'));
  data = join(base, 'data');
  count = join(base, 'count');
  mkdirSync(data);
});
afterEach(() => {
  for (const guest of guests.splice(0)) guest[Symbol.dispose]();
  rmSync(base, { recursive: true });
});

type Started = Awaited<ReturnType<typeof start>>;

/** A machine with the folder as a bounded share. */
async function start(budget: ShareBudget): Promise<{ guest: FuseGuest; root: number; look: () => void }> {
  const { fd: countFd, slot } = await openCount(count, data);
  const share = { path: data, readOnly: false, budget: { ...budget, slot } };
  const device = VirtioFs.open([{ ...openShare(share), countFd }]);
  const guest = new FuseGuest(device);
  guests.push(guest);
  guest.start();
  guest.init();
  return { guest, root: guest.share(0), look: () => device.server.look() };
}

function stop(guest: FuseGuest): void {
  guests.splice(guests.indexOf(guest), 1);
  guest[Symbol.dispose]();
}

const measured = async () => {
  const { bytes, inodes } = await measureTree(data);
  return { bytes, inodes };
};

/** Resolves when the count has no more than there is. */
async function untilCounted({ look }: Started): Promise<void> {
  while (readCount(count)!.bytes > (await measured()).bytes) {
    await sleep(20);
    look();
  }
  expect(readCount(count)).toEqual(await measured());
}

const fallocate = (guest: FuseGuest, handle: number, offset: number, length: number, mode = 0) =>
  guest.request(fuse.FUSE_FALLOCATE, 0, args(BigInt(handle), BigInt(offset), BigInt(length), mode, 0)).error;

const copy = (guest: FuseGuest, from: number, to: number, node: number, length: number) =>
  guest.request(fuse.FUSE_COPY_FILE_RANGE, 0, args(BigInt(from), 0n, BigInt(node), BigInt(to), 0n, BigInt(length), 0n))
    .error;

function statfs(guest: FuseGuest, node: number) {
  const payload = guest.call(fuse.FUSE_STATFS, node);
  const [blocks, free, available, files, freeFiles] = [0, 8, 16, 24, 32].map((at) =>
    Number(payload.readBigUInt64LE(at)),
  );
  return { blocks, free, available, files, freeFiles, unit: payload.readUInt32LE(48) };
}

/** Writes until the guest is refused. Returns the bytes written, and the error. */
function fill(guest: FuseGuest, handle: number, from = 0, piece = MAX_WRITE): { bytes: number; error: number } {
  const bytes = Buffer.alloc(piece, 'x');
  let at = from;
  for (;;) {
    let written = 0;
    const error = refusal(() => {
      written = guest.write(handle, at, bytes);
    });
    if (error !== 0) return { bytes: at - from, error };
    at += written;
  }
}

describe('bytes', () => {
  test('are written up to the bound, and no further', async () => {
    const { guest, root } = await start({ bytes: 10 * MIB });
    const { entry, handle } = guest.create(root, 'file', fs.O_RDWR);
    const { bytes: folder } = await measured();
    expect(fill(guest, handle)).toEqual({ bytes: 10 * MIB - folder, error: EDQUOT });
    expect(readCount(count)).toEqual(await measured());
    // What is written already may be written again, and read.
    expect(guest.write(handle, 0, Buffer.alloc(MAX_WRITE, 'y'))).toBe(MAX_WRITE);
    expect(guest.read(handle, 0, 1).toString()).toBe('y');
    guest.release(handle);
    guest.unlink(root, 'file');
    guest.forget(entry.node);
    expect(readCount(count)).toEqual(await measured());
    expect(guest.create(root, 'next', fs.O_RDWR).entry.size).toBe(0);
  });

  test('are not allocated beyond the bound by fallocate, in one request', async () => {
    const { guest, root } = await start({ bytes: 10 * MIB });
    const { handle } = guest.create(root, 'file', fs.O_RDWR);
    expect(fallocate(guest, handle, 0, 5 * 1024 * MIB)).toBe(EDQUOT);
    expect(fallocate(guest, handle, 1024 * MIB, 11 * MIB, FALLOC_FL_KEEP_SIZE)).toBe(EDQUOT);
    expect(fallocate(guest, handle, 0, 8 * MIB)).toBe(0);
    expect(fallocate(guest, handle, 0, 8 * MIB)).toBe(0);
    expect(fallocate(guest, handle, 7 * MIB, 4 * MIB)).toBe(EDQUOT);
    expect(readCount(count)).toEqual(await measured());
    expect(fallocate(guest, handle, 0, 4 * MIB, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)).toBe(0);
    expect(readCount(count)).toEqual(await measured());
    expect(fallocate(guest, handle, 8 * MIB, 4 * MIB)).toBe(0);
  });

  test('that are preallocated can be written when there is no room for others', async () => {
    const { guest, root } = await start({ bytes: 4 * MIB });
    const { handle } = guest.create(root, 'file', fs.O_RDWR);
    const room = 4 * MIB - (await measured()).bytes;
    expect(fallocate(guest, handle, 0, room)).toBe(0);
    for (let at = 0; at < room; at += 64 * KIB) {
      const piece = Buffer.alloc(Math.min(64 * KIB, room - at), 'x');
      expect(guest.write(handle, at, piece)).toBe(piece.length);
    }
    expect(refusal(() => guest.write(handle, room, Buffer.from('x')))).toBe(EDQUOT);
  });

  test('of holes do not count, and truncating gives bytes back', async () => {
    const { guest, root } = await start({ bytes: 4 * MIB });
    const { entry, handle } = guest.create(root, 'file', fs.O_RDWR);
    expect(guest.setattr(entry.node, { size: 2 ** 40 }, handle).size).toBe(2 ** 40);
    expect(guest.write(handle, 2 ** 39, Buffer.alloc(MIB))).toBe(MIB);
    expect(readCount(count)).toEqual(await measured());
    guest.setattr(entry.node, { size: 0 });
    expect(readCount(count)).toEqual(await measured());
    guest.write(handle, 0, Buffer.alloc(MIB));
    guest.release(guest.open(entry.node, fs.O_RDWR | fs.O_TRUNC));
    expect(readCount(count)).toEqual(await measured());
  });

  test('are not copied beyond the bound', async () => {
    const { guest, root } = await start({ bytes: 10 * MIB });
    const from = guest.create(root, 'from', fs.O_RDWR);
    fallocate(guest, from.handle, 0, 6 * MIB);
    const to = guest.create(root, 'to', fs.O_RDWR);
    expect(copy(guest, from.handle, to.handle, to.entry.node, 6 * MIB)).toBe(EDQUOT);
    expect(copy(guest, from.handle, to.handle, to.entry.node, 2 * MIB)).toBe(0);
    expect(readCount(count)).toEqual(await measured());
  });

  test('at the end of a file count where it ends on the host', async () => {
    const { guest, root } = await start({ bytes: MIB });
    const { handle } = guest.create(root, 'file', fs.O_RDWR);
    const { bytes: folder } = await measured();
    const piece = Buffer.alloc(100 * KIB, 'x');
    let written = 0;
    const error = refusal(() => {
      for (;;) written += guest.write(handle, 0, piece, fs.O_APPEND);
    });
    expect({ error, written }).toEqual({ error: EDQUOT, written: MIB - folder });
    expect(readCount(count)).toEqual(await measured());
  });

  test("of the guest's page cache are written whole or not at all", async () => {
    const { guest, root } = await start({ bytes: MIB });
    const { handle } = guest.create(root, 'file', fs.O_RDWR);
    const bytes = Buffer.alloc(MIB + 1, 'x');
    expect(refusal(() => guest.write(handle, 0, bytes, 0, fuse.FUSE_WRITE_CACHE))).toBe(EDQUOT);
    expect(guest.attributes(guest.lookup(root, 'file').node).size).toBe(0);
  });

  test('of names and of attributes count too', async () => {
    const { guest, root } = await start({ bytes: 256 * KIB });
    const { entry } = guest.create(root, 'file', fs.O_RDWR);
    let links = 0;
    const error = refusal(() => {
      for (; ; links++) guest.forget(guest.link(entry.node, root, `${links}`.padEnd(255, 'n')).node);
    });
    expect(error).toBe(EDQUOT);
    expect((await measured()).bytes).toBeLessThanOrEqual(256 * KIB);
    expect(readCount(count)).toEqual(await measured());
    expect(refusal(() => guest.setxattr(entry.node, 'user.large', 'v'.repeat(3000)))).toBe(EDQUOT);
    while (links > 0) guest.unlink(root, `${--links}`.padEnd(255, 'n'));
    expect(readCount(count)).toEqual(await measured());
  });

  test('of the blocks that the file system adds later do not make room for others', async () => {
    const { guest, root } = await start({ bytes: MIB });
    for (let turn = 0; turn < 5; turn++) {
      const { entry, handle } = guest.create(root, 'file', fs.O_RDWR);
      // Ten extents, for which ext4 needs a block of its own once they are on the disk.
      for (let piece = 0; piece < 10; piece++) guest.write(handle, piece * 8192, Buffer.alloc(4096, 'x'));
      guest.call(fuse.FUSE_FSYNC, 0, args(BigInt(handle), 0, 0));
      guest.release(handle);
      guest.unlink(root, 'file');
      guest.forget(entry.node);
      const [counted, there] = [readCount(count), await measured()];
      expect(counted?.bytes).toBeGreaterThanOrEqual(there.bytes);
    }
  });
});

describe('inodes', () => {
  test('are made up to the bound, in whatever way', async () => {
    const { guest, root } = await start({ inodes: 7 });
    guest.create(root, 'file', fs.O_RDWR);
    guest.mkdir(root, 'folder');
    guest.mknod(root, 'pipe', fs.S_IFIFO | 0o600);
    guest.symlink(root, 'link', 'file');
    const { handle } = guest.createUnnamed(root, fs.O_RDWR);
    guest.link(guest.lookup(root, 'file').node, root, 'second name');
    guest.create(root, 'last', fs.O_RDWR);
    const ways = [
      () => guest.create(root, 'x', fs.O_RDWR),
      () => guest.mkdir(root, 'x'),
      () => guest.mknod(root, 'x', fs.S_IFREG | 0o600),
      () => guest.symlink(root, 'x', 'file'),
      () => guest.createUnnamed(root, fs.O_RDWR),
      () => guest.rename(root, 'file', root, 'x', RENAME_WHITEOUT),
    ];
    for (const way of ways) expect(refusal(way)).toBe(EDQUOT);
    expect(refusal(() => guest.mkdir(root, 'folder'))).toBe(EEXIST);
    guest.link(guest.lookup(root, 'file').node, root, 'third name');
    guest.rename(root, 'last', root, 'renamed');
    guest.release(handle);
    expect(readCount(count)).toEqual(await measured());
    guest.mkdir(root, 'x');
  });

  test('of files that lost their name count until they are closed', async () => {
    const { guest, root } = await start({ bytes: 4 * MIB, inodes: 10 });
    const { bytes: folder } = await measured();
    const open = Array.from({ length: 3 }, (_, index) => {
      const made = guest.create(root, `${index}`, fs.O_RDWR);
      guest.write(made.handle, 0, Buffer.alloc(MIB));
      guest.unlink(root, `${index}`);
      return made;
    });
    const { handle } = guest.create(root, 'more', fs.O_RDWR);
    expect(fill(guest, handle)).toEqual({ bytes: MIB - folder, error: EDQUOT });
    for (const { entry, handle } of open) {
      guest.release(handle);
      guest.forget(entry.node);
    }
    expect(readCount(count)).toEqual(await measured());
    expect(fallocate(guest, handle, MIB, 3 * MIB)).toBe(0);
  });

  test('count if the guest forgets a file before it closes it', async () => {
    const { guest, root } = await start({ bytes: 4 * MIB });
    const kept = guest.create(root, 'kept', fs.O_RDWR);
    const deleted = guest.create(root, 'deleted', fs.O_RDWR);
    for (const { handle } of [kept, deleted]) guest.write(handle, 0, Buffer.alloc(MIB));
    guest.unlink(root, 'deleted');
    for (const { entry, handle } of [kept, deleted]) {
      guest.forget(entry.node);
      guest.release(handle);
    }
    expect(readCount(count)).toEqual(await measured());
  });

  test('replaced by a rename are gone', async () => {
    const { guest, root } = await start({ inodes: 4 });
    for (let turn = 0; turn < 5; turn++) {
      const { entry, handle } = guest.create(root, 'new', fs.O_RDWR);
      guest.write(handle, 0, Buffer.alloc(10_000));
      guest.release(handle);
      guest.rename(root, 'new', root, 'current');
      guest.forget(entry.node);
      expect(readCount(count)).toEqual(await measured());
    }
  });
});

test('the guest sees the budget as the size of the file system', async () => {
  const { guest, root } = await start({ bytes: 8 * MIB, inodes: 100 });
  const before = statfs(guest, root);
  expect(before.blocks! * before.unit).toBe(8 * MIB);
  expect(before).toMatchObject({ files: 100, freeFiles: 99, free: before.available });
  const { handle } = guest.create(root, 'file', fs.O_RDWR);
  guest.write(handle, 0, Buffer.alloc(MIB));
  const after = statfs(guest, root);
  expect((before.available! - after.available!) * after.unit).toBe(MIB);
  expect(after.freeFiles).toBe(98);
});

test('without a budget the guest is bounded by the host alone', () => {
  const guest = FuseGuest.mount([{ path: data, readOnly: false }]);
  guests.push(guest);
  const root = guest.share(0);
  const { handle } = guest.create(root, 'file', fs.O_RDWR);
  expect(fallocate(guest, handle, 0, 64 * MIB)).toBe(0);
  expect(statfs(guest, root).blocks! * statfs(guest, root).unit).toBeGreaterThan(64 * MIB);
});

describe('the count', () => {
  test('is right again after a machine was killed, and after the host changed the folder', async () => {
    const { guest, root } = await start({ bytes: 4 * MIB });
    const { handle } = guest.create(root, 'file', fs.O_RDWR);
    guest.write(handle, 0, Buffer.alloc(MIB));
    stop(guest);
    const damaged = openSync(count, 'r+');
    for (const wrong of [Buffer.alloc(16, 0xff), Buffer.alloc(16), Buffer.alloc(3)]) {
      writeFileSync(count, wrong);
      writeFileSync(join(data, 'of the host'), Buffer.alloc(MIB, 1));
      const again = await start({ bytes: 4 * MIB });
      expect(readCount(count)).toEqual(await measured());
      stop(again.guest);
    }
    closeSync(damaged);
  });

  test('is one for all machines that have the volume', async () => {
    const [one, two] = [await start({ bytes: 4 * MIB }), await start({ bytes: 4 * MIB })];
    const { bytes: folder } = await measured();
    const files = [one, two].map(({ guest, root }, index) => guest.create(root, `${index}`, fs.O_RDWR).handle);
    one.guest.write(files[0]!, 0, Buffer.alloc(MIB));
    two.guest.write(files[1]!, 0, Buffer.alloc(MIB));
    expect(readCount(count)).toEqual(await measured());
    expect(fill(one.guest, files[0]!, MIB)).toEqual({ bytes: 2 * MIB - folder, error: EDQUOT });
    expect(refusal(() => two.guest.write(files[1]!, MIB, Buffer.from('x')))).toBe(EDQUOT);
    stop(one.guest);
    two.guest.unlink(two.root, '0');
    using _ = watchCount(count);
    await untilCounted(two);
    expect(two.guest.write(files[1]!, MIB, Buffer.alloc(MIB))).toBe(MIB);
  });

  test('has what another machine has open of deleted files, until it closes them', async () => {
    const machines = [
      await start({ bytes: 8 * MIB }),
      await start({ bytes: 8 * MIB }),
      await start({ bytes: 8 * MIB }),
    ];
    const [one, two, three] = machines as [Started, Started, Started];
    const lookAll = () => {
      for (const { look } of [...machines, ...machines]) look();
    };
    const { bytes: folder } = await measured();
    const { entry, handle } = one.guest.create(one.root, 'file', fs.O_RDWR);
    one.guest.write(handle, 0, Buffer.alloc(2 * MIB));
    // Known to the guest, and not open.
    three.guest.lookup(three.root, 'file');
    two.guest.unlink(two.root, 'file');
    const other = two.guest.create(two.root, 'other', fs.O_RDWR);
    expect(fill(two.guest, other.handle)).toEqual({ bytes: 6 * MIB - folder, error: EDQUOT });
    lookAll();
    expect(readCount(count)).toEqual({ bytes: 8 * MIB, inodes: 3 });
    // What it frees of the file, and what it adds, is its own.
    fallocate(one.guest, handle, 0, MIB, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    expect(readCount(count)).toEqual({ bytes: 7 * MIB, inodes: 3 });
    one.guest.write(handle, 0, Buffer.alloc(MIB));
    expect(refusal(() => two.guest.write(other.handle, 6 * MIB, Buffer.from('x')))).toBe(EDQUOT);
    one.guest.forget(entry.node);
    one.guest.release(handle);
    lookAll();
    expect(readCount(count)).toEqual(await measured());
  });

  test('has what two machines have open once they close it, whichever deletes it', async () => {
    for (const deletes of [0, 1]) {
      const machines = [await start({ bytes: 8 * MIB }), await start({ bytes: 8 * MIB })];
      const open = machines.map(({ guest, root }) => guest.create(root, 'file', fs.O_RDWR));
      machines[0]!.guest.write(open[0]!.handle, 0, Buffer.alloc(2 * MIB));
      machines[deletes]!.guest.unlink(machines[deletes]!.root, 'file');
      // Before the other machine has looked.
      fallocate(machines[1 - deletes]!.guest, open[1 - deletes]!.handle, 0, MIB, 3);
      for (const [index, { handle, entry }] of open.entries()) {
        for (const { look } of [...machines, ...machines]) look();
        expect(readCount(count)!.bytes).toBeGreaterThanOrEqual(MIB);
        machines[index]!.guest.release(handle);
        machines[index]!.guest.forget(entry.node);
      }
      for (const { look } of [...machines, ...machines]) look();
      expect(readCount(count)).toEqual(await measured());
      for (const { guest } of machines) stop(guest);
    }
  });

  test('has a file once as soon as the other machine has looked', async () => {
    const [one, two] = [await start({ bytes: 16 * MIB }), await start({ bytes: 16 * MIB })];
    const { handle } = one.guest.create(one.root, 'file', fs.O_RDWR);
    one.guest.write(handle, 0, Buffer.alloc(MIB));
    two.guest.unlink(two.root, 'file');
    const before = readCount(count);
    one.look();
    expect(readCount(count)).toEqual(before);
  });

  test('waits for a machine that does not look until it is gone', async () => {
    const one = await start({ bytes: 8 * MIB });
    // Its guest is stopped, for example.
    const { fd } = await openCount(count, data);
    using _ = watchCount(count);
    const { entry, handle } = one.guest.create(one.root, 'file', fs.O_RDWR);
    one.guest.write(handle, 0, Buffer.alloc(2 * MIB));
    one.guest.release(handle);
    one.guest.unlink(one.root, 'file');
    one.guest.forget(entry.node);
    one.look();
    expect(readCount(count)!.bytes).toBeGreaterThanOrEqual(2 * MIB);
    closeSync(fd);
    await untilCounted(one);
  });

  test('loses what a machine had open that is gone', async () => {
    const one = await start({ bytes: 8 * MIB });
    const { fd, slot } = await openCount(count, data);
    using _ = watchCount(count);
    // As a machine leaves it that is killed with an open file of 1 MiB, which is in the count.
    const words = openSync(count, 'r+');
    const held = Buffer.alloc(16);
    held.writeBigUInt64LE(BigInt(MIB), 0);
    held.writeBigUInt64LE(1n, 8);
    writeSync(words, held, 0, 16, 64 + slot * 64 + 48);
    const { bytes, inodes } = await measured();
    held.writeBigUInt64LE(BigInt(bytes + MIB), 0);
    held.writeBigUInt64LE(BigInt(inodes + 1), 8);
    writeSync(words, held, 0, 16, 0);
    closeSync(words);
    one.look();
    expect(readCount(count)).toEqual({ bytes: bytes + MIB, inodes: inodes + 1 });
    closeSync(fd);
    await untilCounted(one);
  });

  test('is not made smaller by folders that this user may not read', async () => {
    const { guest, root } = await start({ bytes: 4 * MIB });
    const { node } = guest.mkdir(root, 'closed');
    const { handle } = guest.create(node, 'file', fs.O_RDWR);
    guest.write(handle, 0, Buffer.alloc(MIB));
    const before = await measured();
    stop(guest);
    chmodSync(join(data, 'closed'), 0);
    await start({ bytes: 4 * MIB });
    expect(readCount(count)).toEqual(before);
  });
});
