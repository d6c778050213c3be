// Confinement of a share. A secret lies beside the shared folder. The guest never reads it, and
// never creates or changes anything outside the folder, even while the folder changes on the host.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  constants as fs,
  fstatSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import * as fuse from '../../../../../vmm/devices/fs/fuse.js';
import { args, FuseError, FuseGuest } from '../../../../fixtures/fuse-guest.js';
import { Random } from '../../../../fixtures/random.js';

const TRIES = 100_000;
/** Milliseconds after which a busy host has tried enough, if what the attempts need happened. */
const ENOUGH = 40_000;
const SECRET = 'nobody in the guest may read this';

/**
 * A program that changes the folder while the test runs. It swaps a directory and a file with links
 * to the secret and to its directory, renames a directory, and replaces a regular file by a pipe
 * and by a device of the host.
 */
const SWAPPER = `
const fs = require('fs');
const [shared, outside] = process.argv.slice(1);
process.chdir(shared);
const quietly = (act) => { try { act(); } catch {} };
fs.symlinkSync(outside, 'link-to-outside');
fs.symlinkSync('../outside', 'link-up');
fs.symlinkSync(outside + '/secret', 'link-to-secret');
fs.symlinkSync('/proc/self/root' + outside, 'magic');
const parent = process.ppid;
process.stdout.write('ready');
while (process.ppid === parent) {
  for (const link of ['link-to-outside', 'link-up', 'magic']) {
    quietly(() => fs.renameSync('directory', 'aside'));
    quietly(() => fs.renameSync(link, 'directory'));
    quietly(() => fs.renameSync('directory', link));
    quietly(() => fs.renameSync('aside', 'directory'));
  }
  quietly(() => fs.renameSync('secret', 'aside-file'));
  quietly(() => fs.renameSync('link-to-secret', 'secret'));
  quietly(() => fs.renameSync('secret', 'link-to-secret'));
  quietly(() => fs.renameSync('pipe', 'secret'));
  quietly(() => fs.renameSync('secret', 'pipe'));
  quietly(() => fs.renameSync('device', 'secret'));
  quietly(() => fs.renameSync('secret', 'device'));
  quietly(() => fs.renameSync('aside-file', 'secret'));
  quietly(() => fs.renameSync('directory/deep', 'directory/deeper'));
  quietly(() => fs.renameSync('directory/deeper', 'directory/deep'));
}
`;

let base: string;
let shared: string;
let outside: string;
let swapper: ChildProcess | undefined;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'tsvm-confined-'));
  shared = join(base, 'shared');
  outside = join(base, 'outside');
  mkdirSync(join(shared, 'directory/deep'), { recursive: true });
  mkdirSync(outside);
  writeFileSync(join(outside, 'secret'), SECRET);
  writeFileSync(join(shared, 'secret'), 'harmless');
  writeFileSync(join(shared, 'directory/secret'), 'harmless');
  execFileSync('mkfifo', [join(shared, 'pipe')]);
  // /dev/zero: a reader gets zeroes and never reaches the end.
  execFileSync('mknod', [join(shared, 'device'), 'c', '1', '5']);
});

afterEach(() => {
  swapper?.kill('SIGKILL');
  swapper = undefined;
  rmSync(base, { recursive: true });
});

/** Returns the result of a request; undefined if it is refused. */
function tried<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof FuseError)) throw error;
    return undefined;
  }
}

const NAMES = [
  ...['directory', 'secret', 'aside', 'aside-file', 'deep', 'link-to-outside', 'link-to-secret', 'link-up', 'magic'],
  ...['pipe', 'device', '..', '.', '', '/', '../outside', '../outside/secret', 'directory/secret', './secret'],
  ...['/etc/passwd', '/proc/self/root', 'outside', 'secret\0/../..', '..\0', '.../..'],
];

/** Returns true if this process reads the secret by a path through the folder. */
function fallsForIt(): boolean {
  let file: number | undefined;
  try {
    // The guest may have put a pipe there, which waits for a writer when opened, or a device
    // without an end.
    file = openSync(join(shared, 'directory/secret'), fs.O_RDONLY | fs.O_NONBLOCK);
    return fstatSync(file).isFile() && readFileSync(file, 'utf8') === SECRET;
  } catch {
    return false;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

test('attempts to reach a secret beside the changing folder all fail, up to 100,000', async () => {
  swapper = spawn(process.execPath, ['-e', SWAPPER, shared, outside], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => swapper!.stdout!.once('data', resolve));
  using guest = FuseGuest.mount([{ path: shared, readOnly: false }], {
    limits: { inodes: 500, descriptors: 64, handles: 20 },
  });
  const random = new Random(1);
  const root = guest.share(0);
  const secret = statSync(join(outside, 'secret')).ino;
  const place = statSync(outside).ino;
  const above = statSync(base).ino;
  let nodes = [root];
  let reads = 0;
  let tries = 0;
  let fallen = 0;
  const seen = (found: { node: number; ino: bigint } | undefined): void => {
    if (found === undefined) return;
    expect([secret, place, above]).not.toContain(Number(found.ino));
    nodes.push(found.node);
  };
  const end = performance.now() + ENOUGH;
  while (tries++ < TRIES && (performance.now() < end || reads <= 100 || fallen === 0)) {
    const node = random.pick(nodes);
    const name = random.pick(NAMES);
    switch (random.below(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
        seen(tried(() => guest.lookup(node, name)));
        break;
      case 4:
      case 5: {
        const handle = tried(() => guest.open(node, random.pick([fs.O_RDONLY, fs.O_RDWR])));
        if (handle === undefined) break;
        const text = guest.read(handle, 0, 100).toString();
        // The text may also be a change of the guest's.
        expect(text).not.toContain(SECRET);
        if (text === 'harmless') reads++;
        guest.release(handle);
        break;
      }
      case 6: {
        const made = tried(() => guest.create(node, name, fs.O_RDWR));
        if (made === undefined) break;
        expect(guest.read(made.handle, 0, 100).toString()).not.toContain(SECRET);
        seen(made.entry);
        guest.release(made.handle);
        if (made.entry.size === 0) tried(() => guest.unlink(node, name));
        break;
      }
      case 7: {
        const plus = random.chance(0.5);
        const handle = tried(() => guest.opendir(node));
        if (handle === undefined) break;
        for (const { entry } of tried(() => guest.readdir(handle, 0n, 4096, plus)) ?? []) seen(entry);
        guest.releasedir(handle);
        break;
      }
      case 8:
        tried(() => guest.setattr(node, random.pick([{ mode: 0o777 }, { size: 8 }, { mtime: 1 }])));
        break;
      case 9:
        tried(() => guest.setxattr(node, 'user.guest', 'was here'));
        break;
      case 10: {
        const other = random.pick(nodes);
        const to = random.pick(NAMES);
        const rounds: (() => unknown)[] = [
          () => seen(guest.link(other, node, to)),
          () => guest.rename(node, name, other, to, random.pick([0, 1, 2])),
          () => seen(guest.symlink(node, name, `${outside}/secret`)),
          () => seen(guest.mkdir(node, name)),
        ];
        // The host restores everything but these names. If the guest changed them, the race would
        // end.
        if (!['directory', 'secret', 'pipe', 'device'].includes(name)) tried(random.pick(rounds));
        break;
      }
      default:
        tried(() => guest.readlink(node));
    }
    // A process that uses paths does read the secret.
    if (tries % 50 === 0) fallen += fallsForIt() ? 1 : 0;
    if (nodes.length > 40) {
      for (const known of nodes.slice(1)) guest.forget(known, 1000);
      nodes = [root];
    }
  }
  expect(reads).toBeGreaterThan(100);
  expect(fallen).toBeGreaterThan(0);
  expect(readdirSync(outside)).toEqual(['secret']);
  expect(readdirSync(base).sort()).toEqual(['outside', 'shared']);
  expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe(SECRET);
  const { mode, mtimeMs } = statSync(join(outside, 'secret'));
  expect(mode & 0o777).toBe(0o644);
  expect(mtimeMs).toBeGreaterThan(1e12);
  const listing = 'import os, sys; print([name for path in sys.argv[1:] for name in os.listxattr(path)])';
  const paths = [outside, join(outside, 'secret')];
  expect(execFileSync('python3', ['-c', listing, ...paths], { encoding: 'utf8' })).toBe('[]\n');
});

test('a symbolic link to any target is text and not a directory', () => {
  symlinkSync(outside, join(shared, 'absolute'));
  symlinkSync('..', join(shared, 'up'));
  symlinkSync(`/proc/${process.pid}/root`, join(shared, 'magic'));
  using guest = FuseGuest.mount([{ path: shared, readOnly: false }]);
  const root = guest.share(0);
  for (const name of ['absolute', 'up', 'magic']) {
    const { node, mode } = guest.lookup(root, name);
    expect(mode & fs.S_IFMT).toBe(fs.S_IFLNK);
    const refused = [
      () => guest.lookup(node, 'secret'),
      () => guest.opendir(node),
      () => guest.open(node, fs.O_RDONLY),
      () => guest.create(node, 'new', fs.O_RDWR),
      () => guest.mkdir(node, 'new'),
      () => guest.rename(root, 'secret', node, 'moved'),
      () => guest.setattr(node, { size: 0 }),
      () => guest.call(fuse.FUSE_UNLINK, node, args('secret')),
    ];
    for (const act of refused) expect(act).toThrow(FuseError);
  }
});

test('a directory that the host moves out of the folder gives no access to its new place', () => {
  using guest = FuseGuest.mount([{ path: shared, readOnly: false }]);
  const root = guest.share(0);
  const directory = guest.lookup(root, 'directory').node;
  guest.releasedir(guest.opendir(directory));
  execFileSync('mv', [join(shared, 'directory'), join(outside, 'moved')]);
  expect(() => guest.lookup(directory, '..')).toThrow(FuseError);
  expect(() => guest.lookup(directory, '../secret')).toThrow(FuseError);
  expect(() => guest.lookup(root, 'directory')).toThrow(FuseError);
});

test('a hard link to the secret is readable, because the host put it into the folder', () => {
  linkSync(join(outside, 'secret'), join(shared, 'linked'));
  using guest = FuseGuest.mount([{ path: shared, readOnly: true }]);
  const { node } = guest.lookup(guest.share(0), 'linked');
  expect(guest.read(guest.open(node, fs.O_RDONLY), 0, 100).toString()).toBe(SECRET);
});
