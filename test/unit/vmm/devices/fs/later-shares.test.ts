// Proves that a machine gets shares while it runs, and that one that is closed keeps nothing open
// and harms no other.
import {
  constants as fs,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import * as fuse from '../../../../../vmm/devices/fs/fuse.js';
import { FuseGuest, openShare } from '../../../../fixtures/fuse-guest.js';

const { EBADF, ENOENT, EROFS, ESTALE } = constants.errno;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-fs-'));
  for (const name of ['first', 'second', 'third']) {
    mkdirSync(join(folder, name, 'below'), { recursive: true });
    writeFileSync(join(folder, name, 'file'), name);
  }
});
afterEach(() => rmSync(folder, { recursive: true }));

const share = (name: string, readOnly = false) => ({ path: join(folder, name), readOnly });
const mount = () => FuseGuest.mount([share('first')]);
const errno = (opcode: number, code: number) => expect.objectContaining({ opcode, errno: code });

/** What of the folder this process has open. */
function open(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith(folder) ? [path.slice(folder.length + 1)] : [];
    } catch {
      return [];
    }
  });
}

test('a running guest gets shares with the next indexes, and uses them as the others', () => {
  using guest = mount();
  expect(() => guest.share(1)).toThrow(errno(fuse.FUSE_LOOKUP, ENOENT));
  const { server } = guest.fs;
  expect(server.addShares([openShare(share('second')), openShare(share('third', true))])).toBe(1);
  const [, second, third] = [0, 1, 2].map((index) => guest.share(index));
  const handle = guest.open(guest.lookup(second ?? 0, 'file').node, fs.O_RDWR);
  guest.write(handle, 0, Buffer.from('SECOND'));
  expect(readFileSync(join(folder, 'second/file'), 'utf8')).toBe('SECOND');
  expect(() => guest.create(third ?? 0, 'new', fs.O_RDWR)).toThrow(errno(fuse.FUSE_CREATE, EROFS));
  // The nodes of files are those of no share's root.
  const nodes = [0, 1, 2].flatMap((index) => [guest.share(index), guest.lookup(guest.share(index), 'file').node]);
  expect(new Set(nodes).size).toBe(6);
  expect(() => server.save()).toThrow('a machine that got shares later cannot be saved');
});

test('a share that is closed is gone, with what the guest had open of it, and its index is no other', () => {
  using guest = mount();
  const { server } = guest.fs;
  const { inodes, handles } = server.usage;
  expect(server.addShares([openShare(share('second'))])).toBe(1);
  const root = guest.share(1);
  const { node } = guest.lookup(root, 'file');
  const file = guest.open(node, fs.O_RDWR);
  guest.lookup(root, 'below');
  const kept = guest.open(guest.lookup(guest.share(0), 'file').node, fs.O_RDONLY);
  server.closeShares([1]);
  expect(open().filter((path) => path.startsWith('second'))).toEqual([]);
  expect(() => guest.share(1)).toThrow(errno(fuse.FUSE_LOOKUP, ENOENT));
  expect(() => guest.lookup(root, 'file')).toThrow(errno(fuse.FUSE_LOOKUP, ESTALE));
  expect(() => guest.open(node, fs.O_RDONLY)).toThrow(errno(fuse.FUSE_OPEN, ESTALE));
  expect(() => guest.write(file, 0, Buffer.from('x'))).toThrow(errno(fuse.FUSE_WRITE, EBADF));
  expect(guest.read(kept, 0, 100).toString()).toBe('first');
  guest.release(kept);
  expect(server.usage).toMatchObject({ handles, inodes: inodes + 1 });
  // Again, and one that is not there: nothing happens.
  server.closeShares([1, 7]);
  expect(server.addShares([openShare(share('third'))])).toBe(2);
  expect(guest.read(guest.open(guest.lookup(guest.share(2), 'file').node, fs.O_RDONLY), 0, 100).toString()).toBe(
    'third',
  );
});

test('if one of several cannot be shared, none is, and none stays open', () => {
  using guest = mount();
  const { server } = guest.fs;
  const device = { ...openShare({ path: '/dev/null', readOnly: false }) };
  const before = open();
  expect(() => server.addShares([openShare(share('second')), device, openShare(share('third'))])).toThrow(
    'cannot share /dev/null: it is neither a folder nor a file',
  );
  expect(open()).toEqual(before);
  for (const index of [1, 2, 3]) expect(() => guest.share(index)).toThrow(errno(fuse.FUSE_LOOKUP, ENOENT));
  expect(guest.lookup(guest.share(0), 'file').size).toBe(5);
});
