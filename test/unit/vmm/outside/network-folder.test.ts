// The folder of a private network: a new member is connected with the others, and what a killed owner left
// is removed.
import { mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import * as libc from '../../../../vmm/host/libc.js';
import { enterNetwork, leaveNetwork, type Membership } from '../../../../vmm/outside/network-folder.js';

const SO_TYPE = 3;

/** Descriptors of this process that are sockets of this kind: no others are in this process. */
function openSockets(): number[] {
  const type = new Int32Array(1);
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter(
      (fd) =>
        libc.getsockopt(fd, libc.SOL_SOCKET, SO_TYPE, type, Int32Array.of(4)) === 0 && type[0] === libc.SOCK_SEQPACKET,
    );
}

let folder: string;
let entered: Membership[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-network-'));
});
afterEach(() => {
  for (const { listener, links } of entered)
    for (const fd of [listener, ...[...links.values()].map((link) => link.fd)]) libc.close(fd);
  entered = [];
  rmSync(folder, { recursive: true });
});

function enter(address: string, ...names: string[]): Membership {
  const membership = enterNetwork({ name: 'lan', folder, names }, address);
  entered.push(membership);
  return membership;
}

/** The first message of each connection that the listener has. */
function greetings({ listener }: Membership): string[] {
  const bytes = Buffer.alloc(1000);
  const found: string[] = [];
  for (;;) {
    const fd = libc.accept4(listener, null, null, libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC);
    if (fd < 0) return found;
    found.push(bytes.toString('latin1', 0, libc.read(fd, bytes, bytes.length)));
    libc.close(fd);
  }
}

test('a new member is connected with each other one, and says who it is', () => {
  const first = enter('198.19.0.10', 'Web');
  const second = enter('198.19.0.11', 'DB', 'shop');
  const third = enter('198.19.0.12');
  expect([first, second, third].map(({ links }) => [...links.keys()].sort())).toEqual([
    [],
    ['198.19.0.10'],
    ['198.19.0.10', '198.19.0.11'],
  ]);
  expect(third.names.sort()).toEqual([
    ['db', '198.19.0.11'],
    ['shop', '198.19.0.11'],
    ['web', '198.19.0.10'],
  ]);
  expect(greetings(first)).toEqual(['198.19.0.11\ndb\nshop', '198.19.0.12']);
  expect(greetings(second)).toEqual(['198.19.0.12']);
});

test('a member that does not listen yet is not taken for one that died', () => {
  // What the owner of another member has made so far: it links the address to it once it listens.
  const coming = libc.check(libc.socket(libc.AF_UNIX, libc.SOCK_SEQPACKET, 0), 'socket');
  const unfinished = libc.unixAddress(join(folder, '.012abc'));
  libc.check(libc.bind(coming, unfinished, unfinished.length), 'bind');
  expect(enter('198.19.0.10').links.size).toBe(0);
  expect(readdirSync(folder).sort()).toEqual(['.012abc', '198.19.0.10']);
  libc.check(libc.listen(coming, 1), 'listen');
  renameSync(join(folder, '.012abc'), join(folder, '198.19.0.11'));
  expect([...enter('198.19.0.12').links.keys()].sort()).toEqual(['198.19.0.10', '198.19.0.11']);
  libc.close(coming);
});

test("an address is one member's", () => {
  enter('198.19.0.10', 'web');
  expect(() => enter('198.19.0.10', 'db')).toThrow('bind: EADDRINUSE');
  expect(readdirSync(folder).sort()).toEqual(['198.19.0.10', 'name=web']);
});

test('the socket and the names of a member that died are removed, and those of its successor stay', () => {
  const dead = enter('198.19.0.10', 'web', 'old');
  for (const fd of [dead.listener, ...[...dead.links.values()].map((link) => link.fd)]) libc.close(fd);
  entered.shift();
  expect(enter('198.19.0.11').links.size).toBe(0);
  expect(readdirSync(folder)).toEqual(['198.19.0.11']);
  const again = enter('198.19.0.10', 'web');
  expect(again.names).toEqual([['web', '198.19.0.10']]);
  leaveNetwork({ name: 'lan', folder, names: ['web'] }, '198.19.0.10');
  expect(readdirSync(folder)).toEqual(['198.19.0.11']);
});

test('a folder that cannot be used leaves no socket open', () => {
  const before = openSockets();
  const file = join(folder, 'file');
  writeFileSync(file, '');
  const attempt = (path: string) => () => enterNetwork({ name: 'lan', folder: path, names: [] }, '198.19.0.10');
  expect(attempt(file)).toThrow('ENOTDIR');
  expect(attempt(join(folder, 'missing'))).toThrow('ENOENT');
  expect(attempt(join(folder, 'x'.repeat(100)))).toThrow('longer than 107 bytes');
  enter('198.19.0.10');
  expect(attempt(folder)).toThrow('EADDRINUSE');
  expect(openSockets()).toEqual([...before, ...entered.map(({ listener }) => listener)]);
});
