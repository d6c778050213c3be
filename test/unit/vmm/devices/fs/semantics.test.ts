// The behaviour of files in a share, seen by the guest through the queue and by the host in the
// folder.
import {
  chmodSync,
  existsSync,
  constants as fs,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import * as fuse from '../../../../../vmm/devices/fs/fuse.js';
import { type FuseOptions, inodeLimit } from '../../../../../vmm/devices/fs/server.js';
import { type DiskRates, MachineError } from '../../../../../vmm/machine.js';
import { INTERRUPT_USED_BUFFER } from '../../../../../vmm/virtio/mmio/registers.js';
import { args, FuseGuest, MAX_WRITE, refusal } from '../../../../fixtures/fuse-guest.js';
import type { DriverQueue, Piece } from '../../../../fixtures/virtio-driver.js';

const { errno } = constants;
const S_IFIFO = 0o010000;
const S_IFSOCK = 0o140000;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;

let folder: string;
let guest: FuseGuest;
let root: number;

const at = (...names: string[]) => join(folder, ...names);

/** Mounts the folder again, in place of the current mount. */
function mount({
  readOnly = false,
  keepSetId = false,
  ...options
}: FuseOptions & { readOnly?: boolean; keepSetId?: boolean } = {}): void {
  guest[Symbol.dispose]();
  guest = FuseGuest.mount([{ path: folder, readOnly, keepSetId }], options);
  root = guest.share(0);
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-fs-'));
  chmodSync(folder, 0o755);
  guest = FuseGuest.mount([{ path: folder, readOnly: false }]);
  root = guest.share(0);
});
afterEach(() => {
  guest[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

describe('a share', () => {
  test('is named by its index, and is a separate file system where it is one on the host', () => {
    const other = mkdtempSync(join(tmpdir(), 'tsvm-fs-'));
    writeFileSync(join(other, 'file'), 'one file');
    using two = FuseGuest.mount([
      { path: folder, readOnly: false },
      { path: join(other, 'file'), readOnly: true },
      { path: '/proc', readOnly: true },
    ]);
    expect(two.lookup(fuse.FUSE_ROOT_ID, '0')).toMatchObject({ ino: BigInt(statSync(folder).ino), flags: 0 });
    expect(two.lookup(fuse.FUSE_ROOT_ID, '2').flags).toBe(fuse.FUSE_ATTR_SUBMOUNT);
    const file = two.lookup(fuse.FUSE_ROOT_ID, '1');
    expect(file).toMatchObject({ size: 8, flags: 0 });
    expect(two.read(two.open(file.node, fs.O_RDONLY), 0, 100).toString()).toBe('one file');
    for (const name of ['3', '00', '-1', 'x', '..', '.', '']) {
      expect([errno.ENOENT, errno.EINVAL]).toContain(refusal(() => two.lookup(fuse.FUSE_ROOT_ID, name)));
    }
    expect(two.attributes(fuse.FUSE_ROOT_ID).mode).toBe(0o040555);
    rmSync(other, { recursive: true });
  });

  test('of a device is refused', () => {
    expect(() => FuseGuest.mount([{ path: '/dev/null', readOnly: false }])).toThrow(MachineError);
  });
});

describe('a file', () => {
  test('is created, written, read and removed', () => {
    const { entry, handle } = guest.create(root, 'file', fs.O_RDWR, 0o640, 0o022);
    expect(entry).toMatchObject({ size: 0, mode: 0o100640, nlink: 1 });
    expect(guest.write(handle, 0, Buffer.from('hello'))).toBe(5);
    expect(guest.write(handle, 10, Buffer.from('world'))).toBe(5);
    expect(guest.read(handle, 0, 100).toString()).toBe('hello\0\0\0\0\0world');
    expect(readFileSync(at('file'), 'latin1')).toBe('hello\0\0\0\0\0world');
    expect(guest.attributes(entry.node).size).toBe(15);
    guest.release(handle);
    guest.unlink(root, 'file');
    expect(existsSync(at('file'))).toBe(false);
    expect(refusal(() => guest.lookup(root, 'file'))).toBe(errno.ENOENT);
  });

  test('is written and read with a mebibyte per request', () => {
    const bytes = Buffer.alloc(MAX_WRITE, 'abcdefg');
    const { handle } = guest.create(root, 'file', fs.O_RDWR);
    expect(guest.write(handle, 0, bytes)).toBe(bytes.length);
    expect(guest.read(handle, 0, MAX_WRITE).equals(bytes)).toBe(true);
    expect(guest.read(handle, MAX_WRITE - 1, MAX_WRITE)).toHaveLength(1);
    expect(guest.read(handle, MAX_WRITE, MAX_WRITE)).toHaveLength(0);
  });

  test('that is open stays accessible if the host gives its name to another file', () => {
    const { entry, handle } = guest.create(root, 'file', fs.O_RDWR, 0o644);
    const second = guest.open(entry.node, fs.O_RDONLY);
    rmSync(at('file'));
    guest.release(handle);
    writeFileSync(at('file'), 'another');
    expect(guest.setattr(entry.node, { mode: 0o600, mtime: 1e9 })).toMatchObject({ mode: 0o100600, mtime: 1e9 });
    guest.setxattr(entry.node, 'user.name', 'value');
    expect(guest.getxattr(entry.node, 'user.name').toString()).toBe('value');
    expect(guest.listxattr(entry.node)).toEqual(['user.name']);
    expect(guest.attributes(entry.node)).toMatchObject({ size: 0, mode: 0o100600, nlink: 0 });
    expect(statSync(at('file'))).toMatchObject({ size: 7, mode: 0o100644 });
    guest.release(second);
    expect(refusal(() => guest.attributes(entry.node))).toBe(errno.ESTALE);
  });

  test('stays accessible without a name while it is open', () => {
    const { entry, handle } = guest.create(root, 'file', fs.O_RDWR);
    guest.unlink(root, 'file');
    guest.write(handle, 0, Buffer.from('still here'));
    expect(guest.read(handle, 0, 100).toString()).toBe('still here');
    expect(guest.attributes(entry.node)).toMatchObject({ size: 10, nlink: 0 });
    expect(guest.setattr(entry.node, { mode: 0o600 }).mode).toBe(0o100600);
    expect(guest.setattr(entry.node, { size: 3 }, handle).size).toBe(3);
    guest.setxattr(entry.node, 'user.kept', 'yes');
    expect(guest.getxattr(entry.node, 'user.kept').toString()).toBe('yes');
    expect(guest.listxattr(entry.node)).toEqual(['user.kept']);
    guest.call(fuse.FUSE_REMOVEXATTR, entry.node, args('user.kept'));
    expect(guest.listxattr(entry.node)).toEqual([]);
    expect(guest.read(guest.open(entry.node, fs.O_RDONLY), 0, 100).toString()).toBe('sti');
  });

  test('is created without a name, and gets one by a link', () => {
    const { entry, handle } = guest.createUnnamed(root, fs.O_RDWR, 0o666, 0o027);
    expect(entry).toMatchObject({ size: 0, mode: 0o100640, nlink: 0 });
    expect(readdirSync(folder)).toEqual([]);
    guest.write(handle, 0, Buffer.from('no name yet'));
    expect(guest.setattr(entry.node, { mode: 0o600 })).toMatchObject({ size: 11, mode: 0o100600, nlink: 0 });
    expect(guest.read(guest.open(entry.node, fs.O_RDONLY), 3, 4).toString()).toBe('name');
    expect(guest.link(entry.node, root, 'file')).toMatchObject({ node: entry.node, nlink: 1 });
    expect(readFileSync(at('file'), 'latin1')).toBe('no name yet');
    expect(guest.lookup(root, 'file').node).toBe(entry.node);
    expect(refusal(() => guest.link(entry.node, root, 'file'))).toBe(errno.EEXIST);
  });

  test('without a name is gone from the host when it is closed', () => {
    const before = guest.fs.server.usage;
    const { entry, handle } = guest.createUnnamed(root, fs.O_WRONLY);
    guest.release(handle);
    expect(refusal(() => guest.attributes(entry.node))).toBe(errno.ESTALE);
    expect(refusal(() => guest.link(entry.node, root, 'file'))).toBe(errno.ESTALE);
    guest.forget(entry.node);
    expect(guest.fs.server.usage).toEqual(before);
    expect(readdirSync(folder)).toEqual([]);
  });

  test('without a name needs a directory and write access', () => {
    const { entry } = guest.create(root, 'file', fs.O_RDWR);
    const create = (node: number, flags: number) => refusal(() => guest.createUnnamed(node, flags));
    expect(create(entry.node, fs.O_RDWR)).toBe(errno.ENOTDIR);
    expect(create(fuse.FUSE_ROOT_ID, fs.O_RDWR)).toBe(errno.ESTALE);
    expect([create(root, fs.O_RDONLY), create(root, 3)]).toEqual([errno.EINVAL, errno.EINVAL]);
  });

  test('is written at its end with O_APPEND, and at the offset from the page cache', () => {
    const { handle } = guest.create(root, 'file', fs.O_RDWR | fs.O_APPEND);
    guest.write(handle, 0, Buffer.from('one '), fs.O_APPEND);
    writeFileSync(at('file'), 'one two ');
    guest.write(handle, 4, Buffer.from('three'), fs.O_APPEND);
    guest.write(handle, 0, Buffer.from('ONE'), fs.O_APPEND, fuse.FUSE_WRITE_CACHE);
    // fcntl(2) removed O_APPEND.
    guest.write(handle, 4, Buffer.from('TWO'));
    expect(readFileSync(at('file'), 'utf8')).toBe('ONE TWO three');
  });

  test('is truncated by open, and truncated and extended later', () => {
    writeFileSync(at('file'), 'contents');
    const { node } = guest.lookup(root, 'file');
    const handle = guest.open(node, fs.O_RDWR | fs.O_TRUNC);
    expect(statSync(at('file')).size).toBe(0);
    expect(guest.setattr(node, { size: 2 ** 40 }).size).toBe(2 ** 40);
    expect(guest.setattr(node, { size: 5 }, handle).size).toBe(5);
    expect(refusal(() => guest.setattr(root, { size: 5 }))).toBe(errno.EISDIR);
  });

  test('that exists is refused with O_EXCL, and opened without', () => {
    writeFileSync(at('file'), 'there');
    expect(refusal(() => guest.create(root, 'file', fs.O_RDWR | fs.O_EXCL))).toBe(errno.EEXIST);
    const { entry, handle } = guest.create(root, 'file', fs.O_RDWR);
    expect(entry.size).toBe(5);
    expect(guest.read(handle, 0, 10).toString()).toBe('there');
    expect(guest.create(root, 'file', fs.O_RDWR | fs.O_TRUNC).entry.size).toBe(0);
  });

  test('stays in the page cache only while it is unchanged', () => {
    const flagsOf = (of: FuseGuest, node: number) =>
      of.call(fuse.FUSE_OPEN, node, args(fs.O_RDONLY, 0)).readUInt32LE(8);
    writeFileSync(at('fresh'), 'contents');
    const { node } = guest.lookup(root, 'fresh');
    // A file that changed moments ago may change again within the same tick of the clock.
    expect([flagsOf(guest, node), flagsOf(guest, node)]).toEqual([0, 0]);
    using other = FuseGuest.mount([{ path: dirname(process.execPath), readOnly: true }]);
    const old = other.lookup(other.share(0), basename(process.execPath)).node;
    expect([flagsOf(other, old), flagsOf(other, old)]).toEqual([0, fuse.FOPEN_KEEP_CACHE]);
  });

  test('has holes, allocated space and copied ranges', () => {
    const { entry, handle } = guest.create(root, 'file', fs.O_RDWR);
    const block = 65536;
    guest.write(handle, 4 * block, Buffer.alloc(block, 1));
    const seek = (offset: number, whence: number) =>
      Number(
        guest.call(fuse.FUSE_LSEEK, entry.node, args(BigInt(handle), BigInt(offset), whence, 0)).readBigUInt64LE(),
      );
    expect([seek(0, 3), seek(4 * block, 4), seek(0, 4)]).toEqual([4 * block, 5 * block, 0]);
    expect(refusal(() => seek(5 * block, 3))).toBe(errno.ENXIO);
    const allocate = (mode: number, offset: number, length: number) =>
      guest.call(fuse.FUSE_FALLOCATE, entry.node, args(BigInt(handle), BigInt(offset), BigInt(length), mode, 0));
    allocate(3, 4 * block, block);
    expect(guest.read(handle, 4 * block, block).every((byte) => byte === 0)).toBe(true);
    allocate(0, 0, 6 * block);
    expect(guest.attributes(entry.node).size).toBe(6 * block);
    guest.write(handle, 0, Buffer.from('copy me'));
    const { entry: copy, handle: copyHandle } = guest.create(root, 'copy', fs.O_RDWR);
    const range = [BigInt(handle), 0n, BigInt(copy.node), BigInt(copyHandle), 2n, 7n, 0n];
    expect(guest.call(fuse.FUSE_COPY_FILE_RANGE, entry.node, args(...range)).readUInt32LE()).toBe(7);
    expect(readFileSync(at('copy'), 'latin1')).toBe('\0\0copy me');
  });

  test('can be copied on the host, whatever the offsets, up to its end', () => {
    const bytes = Buffer.from(Array.from({ length: 700_000 }, (_, index) => index % 251));
    writeFileSync(at('file'), bytes);
    const { node } = guest.lookup(root, 'file');
    const from = guest.open(node, fs.O_RDONLY);
    const { entry, handle: to } = guest.create(root, 'copy', fs.O_RDWR);
    const copy = (start: number, target: number, length: number, source = from) => {
      const range = [BigInt(source), BigInt(start), BigInt(entry.node), BigInt(to), BigInt(target), BigInt(length), 0n];
      return guest.call(fuse.FUSE_COPY_FILE_RANGE, node, args(...range)).readUInt32LE();
    };
    expect(copy(0, 0, bytes.length)).toBe(bytes.length);
    expect(readFileSync(at('copy')).equals(bytes)).toBe(true);
    expect(copy(1, 4096, 2 ** 40)).toBe(bytes.length - 1);
    expect(readFileSync(at('copy')).equals(Buffer.concat([bytes.subarray(0, 4096), bytes.subarray(1)]))).toBe(true);
    expect(copy(bytes.length, 0, 1)).toBe(0);
    expect(refusal(() => copy(0, 2 ** 60, 1))).toBe(errno.EFBIG);
    expect(refusal(() => copy(0, 0, 1, guest.open(node, fs.O_WRONLY)))).toBe(errno.EBADF);
  });

  test('can be synced', () => {
    const { entry, handle } = guest.create(root, 'file', fs.O_RDWR);
    guest.call(fuse.FUSE_FSYNC, entry.node, args(BigInt(handle), 0, 0));
    guest.call(fuse.FUSE_FSYNC, entry.node, args(BigInt(handle), 1, 0));
    const directory = guest.opendir(root);
    guest.call(fuse.FUSE_FSYNCDIR, root, args(BigInt(directory), 0, 0));
    guest.call(fuse.FUSE_SYNCFS, root, args(0n));
    expect(refusal(() => guest.call(fuse.FUSE_FSYNC, entry.node, args(99n, 0, 0)))).toBe(errno.EBADF);
  });

  test('loses set-user-ID when it is written without privilege', () => {
    mount({ keepSetId: true });
    const { entry, handle } = guest.create(root, 'file', fs.O_RDWR, 0o755);
    const mode = () => guest.setattr(entry.node, { mode: 0o6755 }).mode;
    expect(mode()).toBe(0o106755);
    // The host's kernel clears the bits when a server without privilege writes.
    guest.write(handle, 0, Buffer.from('x'));
    expect(guest.attributes(entry.node).mode).toBe(process.geteuid?.() === 0 ? 0o106755 : 0o100755);
    mode();
    guest.write(handle, 0, Buffer.from('x'), 0, fuse.FUSE_WRITE_KILL_SUIDGID);
    expect(guest.attributes(entry.node).mode).toBe(0o100755);
    expect(mode()).toBe(0o106755);
    guest.call(fuse.FUSE_OPEN, entry.node, args(fs.O_WRONLY | fs.O_TRUNC, fuse.FUSE_OPEN_KILL_SUIDGID));
    expect(guest.attributes(entry.node).mode).toBe(0o100755);
  });
});

describe('names', () => {
  test('are renamed, with everything below them, and replace others', () => {
    mkdirSync(at('a/deep'), { recursive: true });
    writeFileSync(at('a/deep/file'), 'moved');
    writeFileSync(at('target'), 'replaced');
    const a = guest.lookup(root, 'a').node;
    const deep = guest.lookup(a, 'deep').node;
    const file = guest.lookup(deep, 'file').node;
    const target = guest.lookup(root, 'target').node;
    const handle = guest.open(target, fs.O_RDONLY);
    guest.rename(root, 'a', root, 'b');
    expect(guest.read(guest.open(file, fs.O_RDONLY), 0, 10).toString()).toBe('moved');
    guest.rename(deep, 'file', root, 'target');
    expect(readFileSync(at('target'), 'utf8')).toBe('moved');
    expect(guest.lookup(root, 'target').node).toBe(file);
    expect(guest.read(handle, 0, 10).toString()).toBe('replaced');
    expect(guest.attributes(target).nlink).toBe(0);
  });

  test('are exchanged, and not replaced with RENAME_NOREPLACE', () => {
    writeFileSync(at('a'), 'A');
    mkdirSync(at('b'));
    const a = guest.lookup(root, 'a').node;
    const b = guest.lookup(root, 'b').node;
    expect(refusal(() => guest.rename(root, 'a', root, 'b', 1))).toBe(errno.EEXIST);
    guest.rename(root, 'a', root, 'b', 2);
    expect(readFileSync(at('b'), 'utf8')).toBe('A');
    expect([guest.lookup(root, 'b').node, guest.lookup(root, 'a').node]).toEqual([a, b]);
    expect(refusal(() => guest.rename(root, 'gone', root, 'c'))).toBe(errno.ENOENT);
    guest.rename(root, 'b', root, 'c', 4);
    expect(lstatSync(at('b')).isCharacterDevice()).toBe(true);
    expect(refusal(() => guest.rename(root, 'c', root, 'd', 8))).toBe(errno.EINVAL);
  });

  test('of one file can be several', () => {
    writeFileSync(at('a'), 'A');
    const { node } = guest.lookup(root, 'a');
    const other = guest.link(node, root, 'b');
    expect(other).toMatchObject({ node, nlink: 2 });
    guest.unlink(root, 'a');
    expect(guest.lookup(root, 'b').node).toBe(node);
    expect(guest.attributes(node).nlink).toBe(1);
    guest.rename(root, 'b', root, 'b');
    expect(guest.attributes(node).nlink).toBe(1);
  });

  test("may have any bytes, up to the host's maximum length", () => {
    for (const name of ['\xff\xfe', 'with space\n', 'ä'.repeat(100), 'x'.repeat(255), '-rf', '...']) {
      guest.release(guest.create(root, name, fs.O_RDWR | fs.O_EXCL).handle);
      expect(guest.list(root).map((entry) => entry.name)).toContain(name);
      guest.unlink(root, name);
    }
    expect(refusal(() => guest.mkdir(root, 'x'.repeat(256)))).toBe(errno.ENAMETOOLONG);
  });

  test('in different shares are on different file systems', () => {
    using two = FuseGuest.mount([
      { path: folder, readOnly: false },
      { path: folder, readOnly: false },
    ]);
    const [a, b] = [two.share(0), two.share(1)];
    two.release(two.create(a, 'file', fs.O_RDWR).handle);
    expect(refusal(() => two.rename(a, 'file', b, 'moved'))).toBe(errno.EXDEV);
    const { node } = two.lookup(a, 'file');
    expect(refusal(() => two.link(node, b, 'linked'))).toBe(errno.EXDEV);
    expect(two.lookup(b, 'file').node).not.toBe(node);
  });

  test('of symbolic links are read, not followed', () => {
    symlinkSync('/etc/passwd', at('link'));
    const link = guest.lookup(root, 'link');
    expect(guest.readlink(link.node)).toBe('/etc/passwd');
    expect(refusal(() => guest.open(link.node, fs.O_RDONLY))).toBe(errno.ELOOP);
    expect(refusal(() => guest.lookup(link.node, 'x'))).toBe(errno.ENOTDIR);
    guest.symlink(root, 'made', '../../anywhere');
    expect(readlinkSync(at('made'))).toBe('../../anywhere');
    guest.link(link.node, root, 'hard');
    expect(readlinkSync(at('hard'))).toBe('/etc/passwd');
  });

  test('of directories are removed only if the directory is empty', () => {
    const directory = guest.mkdir(root, 'd', 0o777, 0o027);
    expect(directory.mode).toBe(0o040750);
    guest.mkdir(directory.node, 'e');
    expect(refusal(() => guest.rmdir(root, 'd'))).toBe(errno.ENOTEMPTY);
    expect(refusal(() => guest.unlink(root, 'd'))).toBe(errno.EISDIR);
    guest.rmdir(directory.node, 'e');
    guest.rmdir(root, 'd');
    // A process of the guest may still have it as its working directory.
    expect(guest.attributes(directory.node).nlink).toBe(0);
    expect(refusal(() => guest.mkdir(directory.node, 'x'))).toBe(errno.ENOENT);
  });

  test('of pipes and sockets are created, those of devices are not', () => {
    expect(guest.mknod(root, 'pipe', S_IFIFO | 0o644).mode).toBe(S_IFIFO | 0o644);
    expect(guest.mknod(root, 'socket', S_IFSOCK | 0o644).mode).toBe(S_IFSOCK | 0o644);
    expect(guest.mknod(root, 'file', 0o100600).mode).toBe(0o100600);
    for (const type of [S_IFCHR, S_IFBLK]) {
      expect(refusal(() => guest.mknod(root, 'device', type | 0o666, 0x103))).toBe(errno.EPERM);
    }
    // The guest's kernel handles the pipe. The host never waits for its other end.
    expect(refusal(() => guest.open(guest.lookup(root, 'pipe').node, fs.O_RDONLY))).toBe(errno.ENXIO);
  });
});

describe('a directory', () => {
  test('of thousands of names is listed completely, with and without attributes', () => {
    const names = Array.from({ length: 3000 }, (_, index) => `file-${index}`);
    for (const name of names) writeFileSync(at(name), '');
    for (const plus of [false, true]) {
      const entries = guest.list(root, { plus });
      expect(entries.map(({ name }) => name).sort()).toEqual([...names].sort());
      expect(new Set(entries.map(({ type }) => type))).toEqual(new Set([8]));
      if (!plus) continue;
      expect(guest.fs.server.usage.inodes).toBe(3001);
      for (const { entry } of entries) guest.forget(entry!.node);
    }
    expect(guest.fs.server.usage).toEqual({ inodes: 1, descriptors: 0, handles: 0 });
  });

  test('can be read from any offset while it changes', () => {
    for (let index = 0; index < 500; index++) writeFileSync(at(`file-${index}`), '');
    const handle = guest.opendir(root);
    const all: { name: string; offset: bigint }[] = [];
    for (let offset = 0n; ; offset = all.at(-1)!.offset) {
      const some = guest.readdir(handle, offset, 512);
      if (some.length === 0) break;
      all.push(...some);
    }
    expect(all).toHaveLength(502);
    for (const index of [0, 3, 77, 250, 499]) {
      expect(guest.readdir(handle, all[index]!.offset, 512)[0]?.name).toBe(all[index + 1]?.name);
    }
    const removed = new Set<string>();
    for (const { name } of all.slice(100, 300)) {
      if (name.startsWith('file-')) {
        rmSync(at(name));
        removed.add(name);
      }
    }
    const rest = new Set<string>();
    for (let offset = all[99]!.offset; ; ) {
      const some = guest.readdir(handle, offset, 512);
      if (some.length === 0) break;
      for (const { name } of some) {
        expect(rest.has(name)).toBe(false);
        rest.add(name);
      }
      offset = some.at(-1)!.offset;
    }
    expect([...rest].filter((name) => !removed.has(name)).sort()).toEqual(
      all
        .slice(300)
        .map(({ name }) => name)
        .sort(),
    );
    guest.releasedir(handle);
  });

  test('cannot be read with too little room, an invalid handle or as a file', () => {
    const handle = guest.opendir(root);
    expect(refusal(() => guest.readdir(handle, 0n, 16))).toBe(errno.EINVAL);
    expect(refusal(() => guest.readdir(99, 0n))).toBe(errno.EBADF);
    expect(refusal(() => guest.read(handle, 0, 10))).toBe(errno.EBADF);
    expect(refusal(() => guest.release(handle))).toBe(errno.EBADF);
  });
});

describe('attributes', () => {
  test('of new files follow the umask, or the default access control list of the folder', () => {
    const { node } = guest.mkdir(root, 'folder', 0o777, 0o027);
    expect(guest.attributes(node).mode).toBe(0o040750);
    const inFolder = () => [
      guest.create(node, 'file', fs.O_RDWR, 0o640, 0o077).entry.mode & 0o777,
      guest.createUnnamed(node, fs.O_RDWR, 0o640, 0o077).entry.mode & 0o777,
      guest.mkdir(node, 'sub', 0o750, 0o077).mode & 0o777,
    ];
    expect(inFolder()).toEqual([0o600, 0o600, 0o700]);
    guest.unlink(node, 'file');
    guest.rmdir(node, 'sub');
    // Everything for owner, group and others: version 2; tag, permissions and user of each entry.
    const list = Buffer.concat([args(2), ...[1, 4, 0x20].map((tag) => args(tag | (7 << 16), 0xffffffff))]);
    guest.call(fuse.FUSE_SETXATTR, node, Buffer.concat([args(list.length, 0, 0, 0, 'system.posix_acl_default'), list]));
    expect(inFolder()).toEqual([0o640, 0o640, 0o750]);
  });

  test('are set individually', () => {
    writeFileSync(at('file'), '');
    const { node } = guest.lookup(root, 'file');
    expect(guest.setattr(node, { mode: 0o711 }).mode).toBe(0o100711);
    expect(guest.setattr(node, { mtime: 1e9 })).toMatchObject({ mtime: 1e9 });
    expect(guest.setattr(node, { atime: 2e9 })).toMatchObject({ mtime: 1e9, atime: 2e9 });
    expect(refusal(() => guest.setattr(77_777, { mode: 0 }))).toBe(errno.ESTALE);
    symlinkSync('nowhere', at('link'));
    const link = guest.lookup(root, 'link').node;
    expect(guest.setattr(link, { mtime: 1e9 }).mtime).toBe(1e9);
    expect(refusal(() => guest.setattr(link, { mode: 0o600 }))).toBe(errno.EOPNOTSUPP);
  });

  test('show root for the user of an unprivileged server, and nobody for all others', () => {
    writeFileSync(at('mine'), '');
    mount({ owner: { uid: process.geteuid!(), gid: process.getegid!() } });
    const { node, uid, gid } = guest.lookup(root, 'mine');
    expect([uid, gid]).toEqual([0, 0]);
    expect(guest.setattr(node, { uid: 0, gid: 0 })).toMatchObject({ uid: 0, gid: 0 });
    expect(refusal(() => guest.setattr(node, { uid: 1000 }))).toBe(errno.EPERM);
    mount({ owner: { uid: 54321, gid: 54321 } });
    expect(guest.lookup(root, 'mine')).toMatchObject({ uid: 65534, gid: 65534 });
    expect(guest.setattr(guest.lookup(root, 'mine').node, { uid: 65534 }).uid).toBe(65534);
  });

  test('of the extended kind are set, listed and removed', () => {
    writeFileSync(at('file'), '');
    const { node } = guest.lookup(root, 'file');
    guest.setxattr(node, 'user.one', 'first');
    guest.setxattr(node, 'user.two', '');
    expect(guest.getxattr(node, 'user.one').toString()).toBe('first');
    expect(guest.getxattr(node, 'user.one', 0).readUInt32LE()).toBe(5);
    expect(guest.listxattr(node).sort()).toEqual(['user.one', 'user.two']);
    expect(refusal(() => guest.getxattr(node, 'user.one', 3))).toBe(errno.ERANGE);
    expect(refusal(() => guest.listxattr(node, 3))).toBe(errno.ERANGE);
    expect(refusal(() => guest.setxattr(node, 'user.one', 'x', 1))).toBe(errno.EEXIST);
    expect(refusal(() => guest.setxattr(node, 'user.none', 'x', 2))).toBe(errno.ENODATA);
    guest.call(fuse.FUSE_REMOVEXATTR, node, args('user.one'));
    expect(refusal(() => guest.getxattr(node, 'user.one'))).toBe(errno.ENODATA);
    expect(refusal(() => guest.setxattr(node, 'trusted.overlay.opaque', 'y'))).toBe(errno.EOPNOTSUPP);
    expect(refusal(() => guest.getxattr(node, 'security.selinux'))).toBe(errno.ENODATA);
  });

  test('of the file system report its free space', () => {
    const payload = guest.call(fuse.FUSE_STATFS, root);
    expect(payload).toHaveLength(80);
    expect(payload.readBigUInt64LE(0)).toBeGreaterThan(0n);
    expect(payload.readUInt32LE(40)).toBe(4096);
    expect(payload.readUInt32LE(44)).toBe(255);
  });
});

describe('a read-only share', () => {
  test('can be read and refuses every change', () => {
    writeFileSync(at('file'), 'contents');
    mkdirSync(at('directory'));
    mount({ readOnly: true });
    const file = guest.lookup(root, 'file').node;
    const directory = guest.lookup(root, 'directory').node;
    const handle = guest.open(file, fs.O_RDONLY);
    expect(guest.read(handle, 0, 100).toString()).toBe('contents');
    const before = statSync(at('file'));
    const changes: (() => unknown)[] = [
      () => guest.open(file, fs.O_WRONLY),
      () => guest.open(file, fs.O_RDWR),
      () => guest.open(file, fs.O_RDONLY | fs.O_TRUNC),
      () => guest.write(handle, 0, Buffer.from('x')),
      () => guest.create(root, 'new', fs.O_RDWR),
      () => guest.create(root, 'file', fs.O_RDWR),
      () => guest.createUnnamed(root, fs.O_RDWR),
      () => guest.mkdir(root, 'new'),
      () => guest.mknod(root, 'new', S_IFIFO | 0o644),
      () => guest.symlink(root, 'new', 'x'),
      () => guest.link(file, root, 'new'),
      () => guest.unlink(root, 'file'),
      () => guest.rmdir(root, 'directory'),
      () => guest.rename(root, 'file', directory, 'moved'),
      () => guest.call(fuse.FUSE_RENAME, root, args(BigInt(directory), 'file', 'moved')),
      () => guest.setattr(file, { mode: 0o777 }),
      () => guest.setattr(file, { size: 0 }, handle),
      () => guest.setattr(file, { mtime: 0 }),
      () => guest.setxattr(file, 'user.x', 'y'),
      () => guest.call(fuse.FUSE_REMOVEXATTR, file, args('user.x')),
      () => guest.call(fuse.FUSE_FALLOCATE, file, args(BigInt(handle), 0n, 10n, 0, 0)),
      () =>
        guest.call(fuse.FUSE_COPY_FILE_RANGE, file, args(BigInt(handle), 0n, BigInt(file), BigInt(handle), 4n, 4n, 0n)),
    ];
    for (const [index, change] of changes.entries()) expect([index, refusal(change)]).toEqual([index, errno.EROFS]);
    const { mtimeMs, ctimeMs, size } = statSync(at('file'));
    expect({ mtimeMs, ctimeMs, size }).toEqual({ mtimeMs: before.mtimeMs, ctimeMs: before.ctimeMs, size: 8 });
  });
});

describe('a file that the guest knows', () => {
  test('is forgotten on request, and its parents after it', () => {
    mkdirSync(at('a/b/c'), { recursive: true });
    const a = guest.lookup(root, 'a').node;
    const b = guest.lookup(a, 'b').node;
    const c = guest.lookup(b, 'c').node;
    guest.lookup(b, 'c');
    guest.forget(a);
    guest.forget(b);
    expect(guest.fs.server.usage.inodes).toBe(4);
    expect(guest.list(c)).toEqual([]);
    guest.forget(c);
    expect(guest.fs.server.usage.inodes).toBe(4);
    guest.forget(c);
    expect(guest.fs.server.usage).toEqual({ inodes: 1, descriptors: 0, handles: 0 });
    for (const node of [a, 0, 2, 2 ** 60]) guest.forget(node, 2 ** 60);
    expect(guest.attributes(root).mode).toBe(0o040755);
  });

  test('needs no descriptor above the limit', () => {
    const limits = { inodes: 100_000, descriptors: 64, handles: 10 };
    mount({ limits });
    const nodes: number[] = [];
    let at = root;
    for (let depth = 0; depth < 100; depth++) {
      at = guest.mkdir(at, `d${depth}`).node;
      nodes.push(at);
      guest.release(guest.create(at, 'file', fs.O_RDWR).handle);
    }
    for (let round = 0; round < 500; round++) {
      const node = nodes[(round * 37) % nodes.length]!;
      expect(guest.attributes(guest.lookup(node, 'file').node).mode).toBe(0o100644);
      expect(guest.fs.server.usage.descriptors).toBeLessThanOrEqual(limits.descriptors);
    }
    const handles = Array.from({ length: 10 }, () => guest.opendir(root));
    expect(refusal(() => guest.opendir(root))).toBe(errno.ENFILE);
    for (const handle of handles) guest.releasedir(handle);
    expect(guest.list(root)).toHaveLength(1);
  });

  test('that was not used for long is forgotten in place of an error, and found again by its name', () => {
    mount({ limits: { inodes: 200, descriptors: 64, handles: 1000 } });
    const { node: folder } = guest.mkdir(root, 'folder');
    const made: number[] = [];
    for (let index = 0; index < 2000; index++) {
      made.push(guest.mknod(folder, `${index}`, fs.S_IFREG | 0o644).node);
      // A program that uses one file all the time does not lose it.
      if (index > 0) expect(guest.attributes(made[1] ?? made[0]!).nlink).toBe(1);
      expect(guest.fs.server.usage.inodes).toBeLessThanOrEqual(200);
    }
    expect(guest.attributes(folder).nlink).toBe(2);
    expect(refusal(() => guest.attributes(made[0]!))).toBe(errno.ESTALE);
    guest.forget(made[0]!);
    expect(guest.attributes(guest.lookup(folder, '0').node).mode).toBe(0o100644);
    expect(guest.list(folder, { plus: true })).toHaveLength(2000);
    expect(guest.fs.server.usage.inodes).toBeLessThanOrEqual(200);
  });

  test('that is a folder is forgotten only when there is no other, and never one with known files', () => {
    mount({ limits: { inodes: 20, descriptors: 64, handles: 1000 } });
    const { node: kept } = guest.mkdir(root, 'kept');
    guest.mknod(kept, 'file', fs.S_IFREG | 0o644);
    const { node: folder } = guest.mkdir(root, 'folder');
    for (let index = 0; index < 100; index++) guest.mknod(root, `${index}`, fs.S_IFREG | 0o644);
    expect(guest.attributes(folder).nlink).toBe(2);
    for (let index = 0; index < 100; index++) guest.mkdir(root, `d${index}`);
    expect(refusal(() => guest.attributes(folder))).toBe(errno.ESTALE);
    const { node: deep } = guest.mkdir(guest.lookup(root, 'kept').node, 'deep');
    const inside = guest.create(deep, 'file', fs.O_RDWR);
    for (let index = 0; index < 100; index++) guest.lookup(root, `d${index}`);
    expect(guest.attributes(deep).nlink).toBe(2);
    expect(guest.write(inside.handle, 0, Buffer.from('x'))).toBe(1);
  });

  test('that is open is never forgotten: with too many of them, no other is found', () => {
    mount({ limits: { inodes: 50, descriptors: 64, handles: 1000 } });
    const open: number[] = [];
    const error = refusal(() => {
      for (let index = 0; ; index++) open.push(guest.create(root, `${index}`, fs.O_RDWR).handle);
    });
    expect([error, open.length]).toEqual([errno.ENFILE, 49]);
    for (const handle of open) expect(guest.write(handle, 0, Buffer.from('x'))).toBe(1);
    guest.release(open[0]!);
    expect(guest.create(root, 'again', fs.O_RDWR).entry.size).toBe(0);
  });

  test('that lost its name counts towards a limit until the guest forgets it', () => {
    mount({ limits: { inodes: 200, descriptors: 64, handles: 1000 } });
    const made = Array.from({ length: 199 }, (_, index) => guest.mkdir(root, `d${index}`).node);
    for (let index = 0; index < 199; index++) guest.rmdir(root, `d${index}`);
    expect(guest.fs.server.usage).toEqual({ inodes: 200, descriptors: 64, handles: 0 });
    expect(refusal(() => guest.mkdir(root, 'one more'))).toBe(errno.ENFILE);
    for (const node of made) guest.forget(node);
    expect(guest.fs.server.usage).toEqual({ inodes: 1, descriptors: 0, handles: 0 });
    expect(guest.mkdir(root, 'again').mode).toBe(0o040755);
  });

  test('is stale if the host put another file in its place', () => {
    mount({ limits: { inodes: 1000, descriptors: 64, handles: 10 } });
    writeFileSync(at('file'), 'old');
    const { node } = guest.lookup(root, 'file');
    renameSync(at('file'), at('away'));
    writeFileSync(at('file'), 'new');
    expect(refusal(() => guest.attributes(node))).toBe(errno.ESTALE);
    const fresh = guest.lookup(root, 'file');
    expect(fresh.node).not.toBe(node);
    expect(guest.read(guest.open(fresh.node, fs.O_RDONLY), 0, 10).toString()).toBe('new');
    expect(guest.lookup(root, 'away').node).toBe(node);
    expect(guest.read(guest.open(node, fs.O_RDONLY), 0, 10).toString()).toBe('old');
  });
});

test.each([
  [64, 2 ** 16],
  [512, 2 ** 16],
  [1024, 2 ** 17],
  [16_384, 2 ** 19],
])('a guest with %d MiB of memory makes the device remember %d files at most', (mebibytes, files) => {
  expect(inodeLimit(mebibytes * 2 ** 20)).toBe(files);
});

test('a restored machine continues with its files', () => {
  mkdirSync(at('d'));
  const directory = guest.lookup(root, 'd').node;
  const { entry, handle } = guest.create(directory, 'file', fs.O_RDWR);
  const listing = guest.opendir(root);
  const gone = guest.create(root, 'gone', fs.O_RDWR);
  guest.unlink(root, 'gone');
  guest.write(handle, 0, Buffer.from('before'));
  const fresh = FuseGuest.mount([{ path: folder, readOnly: false }]).fs;
  guest.replaceDevice(() => fresh);
  expect(guest.read(handle, 0, 10).toString()).toBe('before');
  guest.write(handle, 6, Buffer.from(' after'));
  expect(readFileSync(at('d/file'), 'utf8')).toBe('before after');
  expect(guest.lookup(directory, 'file').node).toBe(entry.node);
  expect(
    guest
      .readdir(listing, 0n)
      .map(({ name }) => name)
      .sort(),
  ).toEqual(['.', '..', 'd']);
  expect(refusal(() => guest.attributes(gone.entry.node))).toBe(errno.ESTALE);
  expect(refusal(() => guest.read(gone.handle, 0, 10))).toBe(errno.EBADF);
  expect(guest.mkdir(root, 'new').node).toBeGreaterThan(entry.node);
});

describe('with rates', () => {
  /** A clock that stands still until it is set. */
  const stopClock = () => {
    const clock = vi.spyOn(performance, 'now').mockReturnValue(1000);
    onTestFinished(() => clock.mockRestore());
    return clock;
  };
  const remount = (rates: DiskRates) => {
    guest[Symbol.dispose]();
    guest = FuseGuest.mount([{ path: folder, readOnly: false }], { rates });
    root = guest.share(0);
  };

  test('a request beyond them waits, and is served when its time has come', () => {
    const clock = stopClock();
    remount({ writeOperations: 10 });
    guest.mkdir(root, 'a');
    guest.mkdir(root, 'b');
    expect(() => guest.mkdir(root, 'c')).toThrow('no answer');
    expect(existsSync(at('c'))).toBe(false);
    clock.mockReturnValue(1100);
    for (let turn = 0; turn < 3; turn++) guest.loop.poll(0);
    expect(existsSync(at('c'))).toBe(true);
  });

  test('bytes count that are read, written and copied, in each direction apart', () => {
    const clock = stopClock();
    remount({ readBytes: MAX_WRITE, writeBytes: MAX_WRITE });
    const { entry, handle } = guest.create(root, 'file', fs.O_RDWR);
    guest.write(handle, 0, Buffer.alloc(MAX_WRITE));
    expect(guest.attributes(entry.node).size).toBe(MAX_WRITE);
    expect(guest.read(handle, 0, MAX_WRITE)).toHaveLength(MAX_WRITE);
    const copy = args(BigInt(handle), 0n, BigInt(entry.node), BigInt(handle), BigInt(MAX_WRITE), BigInt(MAX_WRITE), 0n);
    expect(() => guest.call(fuse.FUSE_COPY_FILE_RANGE, 0, copy)).toThrow('no answer');
    clock.mockReturnValue(1950);
    for (let turn = 0; turn < 3; turn++) guest.loop.poll(0);
    expect(statSync(at('file')).size).toBe(2 * MAX_WRITE);
  });
});

describe('the driver is notified of forget requests', () => {
  let queue: DriverQueue;
  let request: Piece;
  let told: number;

  beforeEach(() => {
    const header = args(fuse.IN_HEADER_SIZE + 8, fuse.FUSE_FORGET, 1n, BigInt(root), 0, 0, 1, 0);
    queue = guest.queueAt(0);
    request = guest.allocate(fuse.IN_HEADER_SIZE + 8);
    guest.bytes(request).set(Buffer.concat([header, args(1n)]));
    told = guest.interrupts;
    queue.add([request], []);
    queue.kick();
    expect(guest.interrupts).toBe(told);
  });

  test('after a delay', () => {
    guest.loop.poll(10_000);
    expect(guest.interrupts).toBe(told + 1);
  });

  test('after 64 of them', () => {
    for (let count = 1; count < 64; count++) {
      expect(guest.interrupts).toBe(told);
      queue.add([request], []);
      queue.kick();
    }
    expect(guest.interrupts).toBe(told + 1);
  });

  test('when the machine is saved', () => {
    const { interruptStatus } = guest.replaceDevice(() => FuseGuest.mount([{ path: folder, readOnly: false }]).fs);
    expect(interruptStatus).toBe(INTERRUPT_USED_BUFFER);
  });
});
