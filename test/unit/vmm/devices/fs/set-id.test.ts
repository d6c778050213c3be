// Proves that a guest leaves no program in a shared folder that runs with another user's rights,
// unless the share keeps such bits.
import { chmodSync, constants as fs, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import * as fuse from '../../../../../vmm/devices/fs/fuse.js';
import { args, FuseError, FuseGuest } from '../../../../fixtures/fuse-guest.js';

const S_IFREG = 0o100000;
const O_TMPFILE = 0o20200000;
/** `struct vfs_cap_data` with cap_setuid, permitted and effective (linux/capability.h). */
const CAPABILITY = '\x01\0\0\x02\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-fs-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const mode = (name: string): number => statSync(join(folder, name)).mode & 0o7777;

/** A file of the host with such bits, mode 6755. */
function old(name: string): string {
  writeFileSync(join(folder, name), 'old');
  chmodSync(join(folder, name), 0o6755);
  return name;
}

/** What a guest can do to have such a file, and the name of the file. */
const WAYS: Record<string, (guest: FuseGuest, root: number) => string> = {
  'creates it': (guest, root) => {
    guest.create(root, 'file', fs.O_RDWR, 0o6755);
    return 'file';
  },
  'makes it with mknod': (guest, root) => {
    guest.mknod(root, 'file', S_IFREG | 0o6755);
    return 'file';
  },
  'creates it without a name, and names it': (guest, root) => {
    const made = guest.call(fuse.FUSE_TMPFILE, root, args(fs.O_RDWR | O_TMPFILE, 0o6755, 0, 0, Buffer.from('/\0')));
    guest.link(Number(made.readBigUInt64LE(0)), root, 'file');
    return 'file';
  },
  'changes the mode': (guest, root) => {
    const { entry } = guest.create(root, 'file', fs.O_RDWR);
    guest.setattr(entry.node, { mode: 0o6755 });
    return 'file';
  },
  'changes the mode of a closed file': (guest, root) => {
    const { entry, handle } = guest.create(root, 'file', fs.O_RDWR);
    guest.release(handle);
    guest.setattr(entry.node, { mode: 0o6755 });
    return 'file';
  },
  "writes to one of the host's": (guest, root) => {
    const handle = guest.open(guest.lookup(root, old('file')).node, fs.O_RDWR);
    guest.write(handle, 0, Buffer.from('evil'));
    return 'file';
  },
  "truncates one of the host's": (guest, root) => {
    guest.setattr(guest.lookup(root, old('file')).node, { size: 0 });
    return 'file';
  },
  "opens one of the host's with O_TRUNC": (guest, root) => {
    guest.open(guest.lookup(root, old('file')).node, fs.O_RDONLY | fs.O_TRUNC);
    return 'file';
  },
};

describe.each(Object.entries(WAYS))('a guest that %s', (_, act) => {
  test.each([
    [false, 0o0755],
    [true, 0o6755],
  ])('with keepSetId %s leaves the mode %o', (keepSetId, left) => {
    using guest = FuseGuest.mount([{ path: folder, readOnly: false, keepSetId }]);
    expect(mode(act(guest, guest.share(0)))).toBe(left);
  });
});

test('what the guest only reads stays as it is, and folders keep set-group-ID', () => {
  using guest = FuseGuest.mount([{ path: folder, readOnly: false }]);
  const root = guest.share(0);
  guest.open(guest.lookup(root, old('file')).node, fs.O_RDONLY);
  expect(mode('file')).toBe(0o6755);
  guest.mkdir(root, 'folder', 0o2755);
  guest.setattr(guest.lookup(root, 'folder').node, { mode: 0o2775 });
  expect(mode('folder')).toBe(0o2775);
});

test('capabilities are refused as an attribute that the file system does not have', () => {
  using guest = FuseGuest.mount([{ path: folder, readOnly: false }]);
  const { entry } = guest.create(guest.share(0), 'file', fs.O_RDWR);
  let errno = 0;
  try {
    guest.setxattr(entry.node, 'security.capability', CAPABILITY);
  } catch (error) {
    errno = error instanceof FuseError ? error.errno : -1;
  }
  expect(errno).toBe(constants.errno.EOPNOTSUPP);
  expect(guest.listxattr(entry.node)).not.toContain('security.capability');
});

test.each([
  [
    'fallocate',
    (guest: FuseGuest, handle: number) => guest.call(fuse.FUSE_FALLOCATE, 0, args(BigInt(handle), 0n, 4096n, 0, 0)),
  ],
  [
    'copy_file_range',
    (guest: FuseGuest, handle: number) =>
      guest.call(fuse.FUSE_COPY_FILE_RANGE, 0, args(BigInt(handle), 0n, 0n, BigInt(handle), 4096n, 3n, 0n)),
  ],
])('%s of a user other than root clears the bits in a share that keeps them', (_, act) => {
  using guest = FuseGuest.mount([{ path: folder, readOnly: false, keepSetId: true }]);
  const { handle } = guest.create(guest.share(0), 'file', fs.O_RDWR, 0o6755);
  guest.write(handle, 0, Buffer.from('abc'));
  act(guest, handle);
  expect(mode('file') & 0o4000).toBe(process.geteuid?.() === 0 ? 0o4000 : 0);
  chmodSync(join(folder, 'file'), 0o6755);
  guest.uid = 1000;
  act(guest, handle);
  expect(mode('file')).toBe(0o0755);
});
