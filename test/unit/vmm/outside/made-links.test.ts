// A machine process in a guest's hand keeps no connection with members of a network that one of both has
// left. The test is such a process: it has the sockets, and closes none.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import * as libc from '../../../../vmm/host/libc.js';
import type { PeerNetwork } from '../../../../vmm/machine.js';
import { MadeLinks } from '../../../../vmm/outside/made-links.js';
import { enterNetwork, leaveNetwork } from '../../../../vmm/outside/network-folder.js';

let network: PeerNetwork;
let members: Member[];
beforeEach(() => {
  network = { name: 'lan', folder: mkdtempSync(join(tmpdir(), 'tsvm-links-')), names: [] };
  members = [];
});
afterEach(() => {
  for (const member of members) member.close();
  rmSync(network.folder, { recursive: true });
});

/** An owner, and the sockets of its machine. */
class Member {
  readonly #entered;
  readonly #made: MadeLinks;
  readonly #accepted: number[] = [];

  constructor(readonly address: string) {
    this.#entered = enterNetwork(network, address);
    this.#made = new MadeLinks(network.folder, this.#entered.links);
    members.push(this);
  }

  /** The machine's end of the connection that it made. */
  link(to: Member): number {
    return this.#entered.links.get(to.address)!.fd;
  }

  /** The machine's end of the next connection that another one made. */
  accept(): number {
    const fd = libc.check(libc.accept4(this.#entered.listener, null, null, libc.SOCK_NONBLOCK), 'accept4');
    this.#accepted.push(fd);
    expect(read(fd)).toBeGreaterThan(0);
    return fd;
  }

  /** What its owner does, whatever the machine does. */
  leave(): void {
    this.#made[Symbol.dispose]();
    leaveNetwork(network, this.address);
  }

  close(): void {
    this.leave();
    const { listener, links } = this.#entered;
    for (const fd of [listener, ...this.#accepted]) libc.close(fd);
    for (const { fd } of links.values()) libc.close(fd);
  }
}

const bytes = Buffer.alloc(100);
/** Returns the number of bytes, or the negative errno. */
function read(fd: number): number {
  const count = libc.read(fd, bytes, bytes.length);
  return count < 0 ? -libc.errno() : count;
}

function write(fd: number): number {
  const count = libc.write(fd, bytes, 10);
  return count < 0 ? -libc.errno() : count;
}

const isOpen = (fd: number) => write(fd) === 10;
/** Neither end sends any more, nor receives more than what was sent before. */
function expectEnded(...ends: number[]): void {
  for (const fd of ends) {
    expect(write(fd)).toBe(-libc.EPIPE);
    let count = read(fd);
    while (count > 0) count = read(fd);
    expect(count).toBe(0);
  }
}

test('the connections of a member that leaves are ended, those that it made and those that it accepted', async () => {
  const first = new Member('198.19.0.10');
  const hostile = new Member('198.19.0.11');
  const later = new Member('198.19.0.12');
  const made = [hostile.link(first), first.accept()];
  const accepted = [hostile.accept(), later.link(hostile)];
  const others = [first.accept(), later.link(first)];
  expect([...made, ...accepted, ...others].every(isOpen)).toBe(true);
  hostile.leave();
  expectEnded(...made);
  // By the owner of the other one, which sees it leave.
  await expect.poll(() => isOpen(later.link(hostile))).toBe(false);
  expectEnded(...accepted);
  expect(others.every(isOpen)).toBe(true);
});

test('a member that comes in the place of one that left gets none of its connections', async () => {
  const hostile = new Member('198.19.0.11');
  const later = new Member('198.19.0.12');
  const kept = hostile.accept();
  hostile.leave();
  const next = new Member('198.19.0.11');
  await expect.poll(() => isOpen(kept)).toBe(false);
  expectEnded(kept, later.link(hostile));
  expect(isOpen(next.link(later))).toBe(true);
});

test('a member that left while the other one came has no connection', () => {
  const hostile = new Member('198.19.0.11');
  const entered = enterNetwork(network, '198.19.0.12');
  const kept = hostile.accept();
  hostile.leave();
  using made = new MadeLinks(network.folder, entered.links);
  expect(made).toBeDefined();
  expectEnded(kept);
  for (const fd of [entered.listener, entered.links.get('198.19.0.11')!.fd]) libc.close(fd);
});
