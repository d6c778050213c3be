// Random FUSE requests of a guest: each gets a valid reply and has no effect outside the share.
import { constants as fs, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { VirtioFs } from '../../../../../vmm/devices/fs/device.js';
import * as fuse from '../../../../../vmm/devices/fs/fuse.js';
import { INTERRUPT_STATUS, STATUS } from '../../../../../vmm/virtio/mmio/registers.js';
import { args, FuseGuest, openShare } from '../../../../fixtures/fuse-guest.js';

const STATUS_DEVICE_NEEDS_RESET = 64;
const NO_REPLY = [fuse.FUSE_FORGET, fuse.FUSE_BATCH_FORGET, fuse.FUSE_INTERRUPT];

let base: string;
let shared: string;

beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'tsvm-fuzz-'));
  shared = join(base, 'shared');
  mkdirSync(shared);
});
afterAll(() => rmSync(base, { recursive: true }));

/** The last opcode that Linux defines. Not all opcodes are served. */
const LAST_OPCODE = 52;
const opcode = fc.oneof(
  { weight: 20, arbitrary: fc.integer({ min: 1, max: LAST_OPCODE }) },
  { weight: 1, arbitrary: fc.nat({ max: 0xffff_ffff }) },
);

/** A node or handle: mostly small numbers, which a guest soon has, and some others. */
const reference = fc.oneof(
  { weight: 8, arbitrary: fc.bigInt({ min: 0n, max: 8n }) },
  { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) },
);
const wide = fc.oneof(
  reference,
  fc.bigInt({ min: 0n, max: 2n ** 21n }),
  fc.constantFrom(2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n),
);
const narrow = fc.oneof(
  fc.constantFrom(0, 1, 2, 3, fs.O_RDWR | fs.O_TRUNC, 0o100644, 0o644, 4096, 65536, 0xffff_ffff),
  fc.nat({ max: 0xffff_ffff }),
);
const name = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('a', 'b', 'c', 'user.a') },
  { weight: 1, arbitrary: fc.constantFrom('', '.', '..', '/', '../b', 'x'.repeat(255), 'x'.repeat(300), '\xff') },
);
const bytes = fc.uint8Array({ maxLength: 200 });

const argument = fc
  .array(fc.oneof({ weight: 3, arbitrary: wide }, { weight: 3, arbitrary: narrow }, name, bytes), { maxLength: 10 })
  .map((parts) => args(...parts));

/** Requests with arguments of the right shape, so that fuzzing gets past the first check. */
const shaped = fc
  .tuple(reference, narrow, narrow, name, name, wide)
  .chain(([handle, first, second, one, two, offset]) =>
    fc.constantFrom<[number, Buffer]>(
      [fuse.FUSE_LOOKUP, args(one)],
      [fuse.FUSE_CREATE, args(fs.O_RDWR, first, second, 0, one)],
      [fuse.FUSE_TMPFILE, args(fs.O_RDWR, first, second, 0, one)],
      [fuse.FUSE_MKDIR, args(first, second, one)],
      [fuse.FUSE_MKNOD, args(first, 0, 0, 0, one)],
      [fuse.FUSE_SYMLINK, args(one, two)],
      [fuse.FUSE_LINK, args(handle, one)],
      [fuse.FUSE_UNLINK, args(one)],
      [fuse.FUSE_RMDIR, args(one)],
      [fuse.FUSE_RENAME2, args(handle, first % 8, 0, one, two)],
      [fuse.FUSE_OPEN, args(first & ~fs.O_APPEND, 0)],
      [fuse.FUSE_OPENDIR, args(0, 0)],
      [fuse.FUSE_READDIR, args(handle, offset, first, 0, 0n, 0, 0)],
      [fuse.FUSE_READDIRPLUS, args(handle, offset, first, 0, 0n, 0, 0)],
      [fuse.FUSE_READ, args(handle, offset, first, 0, 0n, 0, 0)],
      [fuse.FUSE_WRITE, args(handle, offset % 65536n, 5, second, 0n, first, 0, Buffer.from('bytes'))],
      [fuse.FUSE_FALLOCATE, args(handle, offset % 65536n, 4096n, first, 0)],
      [fuse.FUSE_LSEEK, args(handle, offset, first, 0)],
      [fuse.FUSE_COPY_FILE_RANGE, args(handle, offset, 0n, handle, 10n, 100n, 0n)],
      [fuse.FUSE_SETXATTR, args(first % 300, 0, 0, 0, one, Buffer.alloc(200))],
      [fuse.FUSE_GETXATTR, args(first, 0, one)],
      [fuse.FUSE_LISTXATTR, args(first, 0)],
      [fuse.FUSE_FORGET, args(offset)],
    ),
  );

const request = fc.record({
  call: fc.oneof({ weight: 1, arbitrary: fc.tuple(opcode, argument) }, { weight: 3, arbitrary: shaped }),
  node: reference,
  uid: narrow,
  lie: fc.oneof({ weight: 20, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: -50, max: 50 }) }),
  room: fc.oneof(fc.constantFrom(16, 17, 144, 4096, 65536), fc.nat({ max: 70_000 })),
});

test('every request, valid or not, gets a reply', () => {
  writeFileSync(join(base, 'beside'), 'untouched');
  fc.assert(
    fc.property(fc.array(request, { minLength: 1, maxLength: 60 }), (requests) => {
      rmSync(shared, { recursive: true });
      mkdirSync(join(shared, 'a/b'), { recursive: true });
      writeFileSync(join(shared, 'b'), 'contents');
      using guest = FuseGuest.mount([{ path: shared, readOnly: false }], {
        limits: { inodes: 50, descriptors: 64, handles: 10 },
      });
      guest.share(0);
      for (const { call, node, uid, lie, room } of requests) {
        const [code, body] = call;
        const length = fuse.IN_HEADER_SIZE + body.length;
        const header = args(length + lie, code, 7n, node, uid, uid, 1, 0);
        const isSilent = NO_REPLY.includes(code);
        const reply = guest.send(Buffer.concat([header, body]), isSilent ? room : Math.max(room, 16));
        if (isSilent) {
          expect(reply).toHaveLength(0);
          continue;
        }
        expect(reply.readUInt32LE(0)).toBe(reply.length);
        expect(reply.length).toBeLessThanOrEqual(Math.max(room, 16));
        expect(reply.readBigUInt64LE(8)).toBe(7n);
        const error = reply.readInt32LE(4);
        expect(error <= 0 && error > -512).toBe(true);
        const { inodes, handles } = guest.fs.server.usage;
        expect(inodes <= 50 && handles <= 10).toBe(true);
      }
      expect(guest.failures).toEqual([]);
      expect(readdirSync(base).sort()).toEqual(['beside', 'shared']);
    }),
    { numRuns: 300 },
  );
});

test.each([
  ['no bytes', 0, 16],
  ['half a header', 20, 16],
  ['no room for the reply', 56, 0],
  ['too little room for the reply', 56, 15],
])('a request with %s breaks the device until it is reset', (_, length, room) => {
  using guest = FuseGuest.mount([{ path: shared, readOnly: false }]);
  const bytes = Buffer.alloc(length);
  if (length > 0) bytes.set(args(length, fuse.FUSE_GETATTR, 1n, 1n).subarray(0, length));
  expect(() => guest.send(bytes, room)).toThrow('no answer');
  expect(guest.failures).toHaveLength(1);
  expect(guest.readRegister(STATUS) & STATUS_DEVICE_NEEDS_RESET).not.toBe(0);
  expect(guest.readRegister(INTERRUPT_STATUS)).not.toBe(0);
});

test('no request is served before a valid FUSE_INIT', () => {
  using guest = new FuseGuest(VirtioFs.open([openShare({ path: shared, readOnly: false })]));
  guest.start();
  expect(guest.request(fuse.FUSE_GETATTR, 1, args(0, 0, 0n)).error).toBe(5);
  for (const [major, minor, flags] of [
    [6, 38, -1],
    [8, 0, -1],
    [7, 10, -1],
    [7, 38, 0],
  ] as const) {
    expect(guest.request(fuse.FUSE_INIT, 0, args(major, minor, 0, flags)).error).not.toBe(0);
  }
  const answer = guest.init();
  expect([answer.readUInt32LE(0), answer.readUInt32LE(4), answer.readUInt32LE(20)]).toEqual([7, 38, 1024 * 1024]);
});
