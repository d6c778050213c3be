// A hundred thousand random operations. The guest does each in a shared folder, and this process
// does the same in its own folder. The results, and the folders at the end, are equal. The test's
// name has the seed.

import {
  appendFileSync,
  chmodSync,
  closeSync,
  constants as fs,
  fstatSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  rmdirSync,
  rmSync,
  type Stats,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { expect, test } from 'vitest';
import { codeOf } from '../../../../../errors/index.js';
import { errno, libcFunction } from '../../../../../libc/index.js';
import { measureTree } from '../../../../../libc/trees.js';
import { openCount, readCount } from '../../../../../sandbox/home/volume-count.js';
import { VirtioFs } from '../../../../../vmm/devices/fs/device.js';
import * as fuse from '../../../../../vmm/devices/fs/fuse.js';
import { FuseError, FuseGuest, openShare } from '../../../../fixtures/fuse-guest.js';
import { Random } from '../../../../fixtures/random.js';

const OPERATIONS = 10_000;
const COMPARE_EVERY = 2500;
const MAX_OPEN = 12;
const MAX_FILE = 300_000;
/** The umask of this process and of the guest's. */
const UMASK = process.umask();
const NAMES = ['a', 'b', 'c', 'd', 'e'];

const renameat2 = libcFunction<[from: number, name: string, to: number, toName: string, flags: number]>(
  'int renameat2(int, const char *, int, const char *, unsigned int)',
);
const errnoOf = new Map(Object.entries(constants.errno).map(([name, number]) => [name, number as number]));

/** A file that is open on both sides. */
interface OpenPair {
  handle: number;
  fd: number;
  node: number;
  append: boolean;
}

/** The result of one side. It may be anything: it is only compared with the other side's. */
type Answer = unknown;

function attributesOf({ mode, nlink, size }: { mode: number; nlink: number; size: number }): Answer {
  // The size of a directory depends on its file system.
  return { mode, nlink, size: (mode & fs.S_IFMT) === fs.S_IFDIR ? 0 : size };
}

class Pair implements Disposable {
  readonly #random: Random;
  readonly #base = mkdtempSync(join(tmpdir(), 'tsvm-random-'));
  readonly shared = join(this.#base, 'shared');
  readonly own = join(this.#base, 'own');
  readonly #guest: FuseGuest;
  readonly #root: number;
  readonly #open: OpenPair[] = [];
  /** The operation, for the message. */
  #what = '';

  /** @param countFd the count of the guest's budget, which is so large that it refuses nothing */
  constructor(seed: number, countFd?: number) {
    this.#random = new Random(seed);
    mkdirSync(this.shared);
    mkdirSync(this.own);
    // With so few descriptors, the server must often reopen files by name.
    const limits = { inodes: 5000, descriptors: 64, handles: 100 };
    const share = openShare({ path: this.shared, readOnly: false, budget: { bytes: 2 ** 40, inodes: 2 ** 30 } });
    const shares = [{ ...share, ...(countFd === undefined ? {} : { countFd }) }];
    this.#guest = new FuseGuest(VirtioFs.open(shares, { limits }));
    this.#guest.start();
    this.#guest.init();
    this.#root = this.#guest.share(0);
  }

  /** Returns a path of one to four names. */
  #path(): string {
    const depth = 1 + this.#random.below(4);
    return Array.from({ length: depth }, () => this.#random.pick(NAMES)).join('/');
  }

  /** Calls `act` with the node of the path's directory, then forgets the node. */
  #inDirectory<T>(path: string, act: (parent: number, name: string) => T): T {
    const directory = dirname(path);
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (directory === '.') return act(this.#root, name);
    const { node, mode } = this.#guest.walk(this.#root, directory);
    try {
      // The guest's kernel finds this out from the lookup.
      if ((mode & fs.S_IFMT) !== fs.S_IFDIR) throw new FuseError(fuse.FUSE_LOOKUP, constants.errno.ENOTDIR);
      return act(node, name);
    } finally {
      this.#guest.forget(node);
    }
  }

  #atNode<T>(path: string, act: (node: number) => T): T {
    const { node } = this.#guest.walk(this.#root, path);
    try {
      return act(node);
    } finally {
      this.#guest.forget(node);
    }
  }

  /** Returns the results of both sides for the same request. */
  #both(guest: () => Answer, own: () => Answer): { guest: Answer; own: Answer } {
    const answer = (side: () => Answer): Answer => {
      try {
        return side();
      } catch (error) {
        if (error instanceof FuseError) return `errno ${error.errno}`;
        const code = codeOf(error);
        if (code === undefined) throw error;
        return `errno ${errnoOf.get(code)}`;
      }
    };
    return { guest: answer(guest), own: answer(own) };
  }

  #ours(path: string): string {
    // The guest's side does not follow links: a path through a link fails there.
    let walked = this.own;
    for (const name of dirname(path).split('/')) {
      walked = join(walked, name);
      if (!lstatSync(walked).isDirectory()) throw Object.assign(new Error(), { code: 'ENOTDIR' });
    }
    return join(this.own, path);
  }

  /** Creates or opens a file. */
  #openFile(): { guest: Answer; own: Answer } {
    const path = this.#path();
    const create = this.#random.chance(0.6);
    const flags = this.#random.pick([fs.O_RDWR, fs.O_RDWR | fs.O_TRUNC, fs.O_RDWR | fs.O_EXCL]);
    const mode = this.#random.pick([0o644, 0o600, 0o777]);
    if (!create && (flags & fs.O_EXCL) !== 0) return { guest: 0, own: 0 };
    const append = this.#random.chance(0.3);
    this.#what = `open ${path}, ${create ? 'create' : 'existing'}, flags ${flags}`;
    const pair: Partial<OpenPair> = { append };
    const both = this.#both(
      () => {
        if (create) {
          const made = this.#inDirectory(path, (parent, name) => this.#guest.create(parent, name, flags, mode, UMASK));
          Object.assign(pair, { handle: made.handle, node: made.entry.node });
        } else {
          const { node, mode: is } = this.#guest.walk(this.#root, path);
          try {
            // For a directory, the guest's kernel fails without a request.
            if ((is & fs.S_IFMT) === fs.S_IFDIR) throw new FuseError(fuse.FUSE_OPEN, constants.errno.EISDIR);
            pair.handle = this.#guest.open(node, flags);
            pair.node = node;
          } catch (error) {
            this.#guest.forget(node);
            throw error;
          }
        }
        return 'open';
      },
      () => {
        const all = flags | fs.O_NOFOLLOW | (create ? fs.O_CREAT : 0) | (append ? fs.O_APPEND : 0);
        pair.fd = openSync(this.#ours(path), all, mode);
        return 'open';
      },
    );
    if (both.guest === 'open' && both.own === 'open') {
      this.#open.push(pair as OpenPair);
      if (this.#open.length > MAX_OPEN) this.#close(this.#random.below(this.#open.length));
    }
    return both;
  }

  #close(index: number): void {
    const { handle, fd, node } = this.#open.splice(index, 1)[0]!;
    this.#guest.release(handle);
    this.#guest.forget(node);
    closeSync(fd);
  }

  #onOpenFile(): { guest: Answer; own: Answer } {
    if (this.#open.length === 0) return this.#openFile();
    const random = this.#random;
    const { handle, fd, node, append } = random.pick(this.#open);
    const offset = random.below(MAX_FILE);
    const length = random.chance(0.1) ? random.below(MAX_FILE) : random.below(5000);
    const kind = random.below(6);
    this.#what = `open file, ${kind}`;
    switch (kind) {
      case 0:
      case 1: {
        const bytes = Buffer.alloc(length, random.bytes(7));
        return this.#both(
          () => this.#guest.write(handle, offset, bytes, append ? fs.O_APPEND : 0),
          () => writeSync(fd, bytes, 0, length, offset),
        );
      }
      case 2:
        return this.#both(
          () => this.#guest.read(handle, offset, length).toString('latin1'),
          () => {
            const bytes = Buffer.alloc(length);
            return bytes.toString('latin1', 0, readSync(fd, bytes, 0, length, offset));
          },
        );
      case 3:
        return this.#both(
          () => attributesOf(this.#guest.setattr(node, { size: offset }, handle)),
          () => {
            ftruncateSync(fd, offset);
            return attributesOf(fstatSync(fd));
          },
        );
      case 4:
        return this.#both(
          () => attributesOf(this.#guest.attributes(node)),
          () => attributesOf(fstatSync(fd)),
        );
      default:
        this.#close(random.below(this.#open.length));
        return { guest: 0, own: 0 };
    }
  }

  #onName(): { guest: Answer; own: Answer } {
    const random = this.#random;
    const path = this.#path();
    const other = this.#path();
    const kind = random.below(11);
    this.#what = `name, ${kind}: ${path} ${other}`;
    switch (kind) {
      case 0:
      case 1:
        return this.#both(
          () => this.#inDirectory(path, (parent, name) => this.#guest.forget(this.#guest.mkdir(parent, name).node)),
          () => mkdirSync(this.#ours(path), 0o755),
        );
      case 2:
        return this.#both(
          () => this.#inDirectory(path, (parent, name) => this.#guest.rmdir(parent, name)),
          () => rmdirSync(this.#ours(path)),
        );
      case 3:
        return this.#both(
          () => this.#inDirectory(path, (parent, name) => this.#guest.unlink(parent, name)),
          () => unlinkSync(this.#ours(path)),
        );
      case 4:
      case 5: {
        const flags = random.pick([0, 0, 1, 2]);
        return this.#both(
          () =>
            this.#inDirectory(path, (from, name) =>
              this.#inDirectory(other, (to, toName) => this.#guest.rename(from, name, to, toName, flags)),
            ),
          () => {
            const [from, to] = [this.#ours(path), this.#ours(other)];
            if (renameat2(-100, from, -100, to, flags) === 0) return undefined;
            return `errno ${errno()}`;
          },
        );
      }
      case 6:
        return this.#both(
          () =>
            this.#atNode(path, (node) =>
              this.#inDirectory(other, (parent, name) => this.#guest.forget(this.#guest.link(node, parent, name).node)),
            ),
          () => {
            const from = this.#ours(path);
            lstatSync(from);
            linkSync(from, this.#ours(other));
          },
        );
      case 7:
        return this.#both(
          () =>
            this.#inDirectory(path, (parent, name) =>
              this.#guest.forget(this.#guest.symlink(parent, name, other).node),
            ),
          () => symlinkSync(other, this.#ours(path)),
        );
      case 8: {
        const mode = random.below(0o1000);
        return this.#both(
          () => this.#atNode(path, (node) => attributesOf(this.#guest.setattr(node, { mode: mode | 0o700 }))),
          () => {
            const ours = this.#ours(path);
            if (lstatSync(ours).isSymbolicLink()) throw Object.assign(new Error(), { code: 'EOPNOTSUPP' });
            chmodSync(ours, mode | 0o700);
            return attributesOf(lstatSync(ours));
          },
        );
      }
      case 9:
        return this.#both(
          () => this.#atNode(path, (node) => this.#guest.setattr(node, { atime: 1e9, mtime: 2e9 }).mtime),
          () => {
            const ours = this.#ours(path);
            if (lstatSync(ours).isSymbolicLink()) return 2e9;
            utimesSync(ours, 1e9, 2e9);
            return lstatSync(ours).mtimeMs / 1000;
          },
        );
      default:
        return this.#both(
          () => this.#atNode(path, (node) => this.#describe(node)),
          () => describeOwn(this.#ours(path)),
        );
    }
  }

  /** Returns a node as the guest sees it. */
  #describe(node: number): Answer {
    const attributes = this.#guest.attributes(node);
    const type = attributes.mode & fs.S_IFMT;
    const about = attributesOf(attributes);
    if (type === fs.S_IFLNK) return { about, link: this.#guest.readlink(node) };
    if (type !== fs.S_IFDIR) return { about };
    const plus = this.#random.chance(0.5);
    const entries = this.#guest.list(node, { plus, size: this.#random.pick([512, 4096]) });
    for (const { entry } of entries) if (entry !== undefined) this.#guest.forget(entry.node);
    return { about, names: entries.map(({ name }) => name).sort() };
  }

  /** Performs one operation. Fails if the results of the sides differ. */
  step(number: number): void {
    const chance = this.#random.fraction();
    const { guest, own } = chance < 0.15 ? this.#openFile() : chance < 0.5 ? this.#onOpenFile() : this.#onName();
    // A hundred thousand calls of `expect` would take most of the time.
    if (!isDeepStrictEqual(guest, own)) expect(guest, `operation ${number}: ${this.#what}`).toEqual(own);
  }

  /** Compares everything below both folders, also as the guest sees its folder. */
  compare(): void {
    expect(treeOf(this.shared)).toEqual(treeOf(this.own));
    const see = (node: number): Record<string, unknown> =>
      Object.fromEntries(
        this.#guest.list(node).map(({ name }) => {
          const { node: child, ...attributes } = this.#guest.lookup(node, name);
          const type = attributes.mode & fs.S_IFMT;
          let inside: unknown;
          if (type === fs.S_IFDIR) inside = see(child);
          else if (type === fs.S_IFLNK) inside = this.#guest.readlink(child);
          else {
            const handle = this.#guest.open(child, fs.O_RDONLY);
            inside = this.#guest.read(handle, 0, attributes.size + 1).toString('latin1');
            this.#guest.release(handle);
          }
          this.#guest.forget(child);
          return [name, [attributesOf(attributes), inside]];
        }),
      );
    expect(see(this.#root)).toEqual(treeOf(this.own));
    // The server remembers only open files.
    expect(this.#guest.fs.server.usage.inodes).toBeLessThanOrEqual(1 + this.#open.length * 5);
  }

  /** Closes all open files, after which the server remembers none. */
  closeAll(): void {
    while (this.#open.length > 0) this.#close(0);
    expect(this.#guest.fs.server.usage).toEqual({ inodes: 1, descriptors: 0, handles: 0 });
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#open) closeSync(fd);
    this.#guest[Symbol.dispose]();
    rmSync(this.#base, { recursive: true });
  }
}

function describeOwn(path: string): Answer {
  const status = lstatSync(path);
  const about = attributesOf(status);
  if (status.isSymbolicLink()) return { about, link: readlinkSync(path) };
  return status.isDirectory() ? { about, names: readdirSync(path).sort() } : { about };
}

function treeOf(folder: string): Record<string, unknown> {
  return Object.fromEntries(
    readdirSync(folder).map((name) => {
      const path = join(folder, name);
      const status: Stats = lstatSync(path);
      let inside: unknown;
      if (status.isDirectory()) inside = treeOf(path);
      else inside = status.isSymbolicLink() ? readlinkSync(path) : readFileSync(path, 'latin1');
      return [name, [attributesOf(status), inside]];
    }),
  );
}

test('the budget of the share counts what the host has (seed 6)', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-random-'));
  try {
    mkdirSync(join(folder, 'empty'));
    const count = join(folder, 'count');
    using pair = new Pair(6, (await openCount(count, join(folder, 'empty'))).fd);
    for (let number = 1; number <= OPERATIONS; number++) pair.step(number);
    pair.closeAll();
    const { bytes, inodes } = await measureTree(pair.shared);
    const counted = readCount(count);
    expect(counted?.inodes).toBe(inodes);
    // The file system adds blocks of its own to files in pieces when it writes them to the disk.
    expect(Math.abs(counted!.bytes - bytes)).toBeLessThanOrEqual(inodes * 4096);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.each([1, 2, 3, 4, 7, 8, 9, 10, 11, 12])(
  'the guest and the host agree on the result of each operation (seed %d)',
  (seed) => {
    using pair = new Pair(seed);
    for (let number = 1; number <= OPERATIONS; number++) {
      pair.step(number);
      if (number % COMPARE_EVERY === 0) pair.compare();
    }
    pair.closeAll();
  },
);

test('a difference between the sides is detected', () => {
  using pair = new Pair(5);
  for (let number = 1; number <= 200; number++) pair.step(number);
  appendFileSync(join(pair.shared, 'one more'), '');
  expect(() => pair.compare()).toThrow();
});
