// The guest's datagrams and pings, with the host's kernel as the guest: through the real device, the real
// owner in a process of its own, and real links.
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { parseAddress } from '../../../../../addresses/ip.js';
import * as libc from '../../../../../vmm/host/libc.js';
import { connectPing, createUdp } from '../../../../../vmm/outside/connected-socket.js';
import { SocketAddress } from '../../../../../vmm/outside/socket-address.js';
import { childrenNamed, KernelGuest, type KernelGuestOptions } from '../../../../fixtures/flows/kernel-guest.js';
import { GATEWAY } from '../../../../fixtures/frames.js';
import { enterNamespace, INTERNET, Link, type Namespace, NEIGHBOUR } from '../../../../fixtures/linked-namespaces.js';

const flows = fileURLToPath(new URL('../../../../fixtures/flows/', import.meta.url));
const programs = { device: '', owner: '' };
/** Offset of the scope in `struct sockaddr_in6`. */
const SCOPE = 24;
let work: string;

beforeAll(async () => {
  work = mkdtempSync('/tmp/tsvm-test-');
  symlinkSync(join(flows, '../../../node_modules'), join(work, 'node_modules'));
  for (const name of ['device', 'owner'] as const) {
    programs[name] = join(work, `${name}.mjs`);
    await build({
      ...{ entryPoints: [join(flows, `${name}.ts`)], bundle: true, format: 'esm', platform: 'node', target: 'node20' },
      ...{ external: ['koffi'], outfile: programs[name] },
    });
  }
});

afterAll(() => rmSync(work, { recursive: true }));

const open: { close(): void }[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each.close();
});

/** An address with a port, as a program in the namespace has it. */
function addressIn(namespace: Namespace, address: string, port: number): SocketAddress {
  const to = new SocketAddress().set(parseAddress(address), port);
  if (address === GATEWAY.ipv6)
    to.bytes[SCOPE] = Number.parseInt(namespace.run('ip', '-o', 'link', 'show', 'eth0'), 10);
  return to;
}

/** A server in a namespace, which answers each datagram with the sender's address and port, and the datagram. */
async function serve(namespace: Namespace, port: number, ...addresses: string[]): Promise<void> {
  for (const address of addresses) {
    const at = addressIn(namespace, address, port);
    let fd: number;
    {
      using _ = enterNamespace(namespace.pid);
      fd = libc.check(createUdp(at.family), 'socket');
    }
    libc.check(libc.bind(fd, at.bytes, at.length), 'bind');
    const server = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    server.on('message', (bytes, from) => {
      server.send(
        Buffer.concat([Buffer.from(`${from.address.replace(/%.*/, '')} ${from.port} `), bytes]),
        from.port,
        from.address,
      );
    });
    const isListening = once(server, 'listening');
    server.bind({ fd });
    open.push(server);
    await isListening;
  }
}

/** A program in a namespace with a socket. */
class Client {
  readonly #namespace: Namespace;
  readonly fd: number;

  constructor(namespace: Namespace, address: string) {
    using _ = enterNamespace(namespace.pid);
    this.#namespace = namespace;
    this.fd = libc.check(createUdp(address.includes(':') ? libc.AF_INET6 : libc.AF_INET), 'socket');
    open.push({ close: () => libc.close(this.fd) });
  }

  connect(address: string, port: number): this {
    const to = addressIn(this.#namespace, address, port);
    libc.check(libc.connect(this.fd, to.bytes, to.length), 'connect');
    return this;
  }

  send(bytes: Uint8Array): void {
    libc.check(libc.write(this.fd, bytes, bytes.length), 'write');
  }

  /** The next datagram, or the errno's negative. */
  async receive(): Promise<Buffer | number> {
    const bytes = Buffer.alloc(65536);
    for (;;) {
      const count = libc.read(this.fd, bytes, bytes.length);
      const errno = libc.errno();
      if (count >= 0) return bytes.subarray(0, count);
      if (errno !== libc.EAGAIN) return -errno;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** What the server saw, which answers with what it got; or the errno's negative. */
  async ask(bytes: Buffer): Promise<string | number> {
    this.send(bytes);
    const answer = await this.receive();
    if (typeof answer === 'number') return answer;
    const [, address, port, rest] = /^(\S*) (\d+) (.*)$/s.exec(answer.toString('latin1')) ?? [];
    expect(rest === bytes.toString('latin1')).toBe(true);
    return `${address} ${port}`;
  }
}

/** What a server sees of a client that sends datagrams of these lengths; or the errno's negative. */
async function converse(from: Namespace, address: string, port: number): Promise<string | number | undefined> {
  const client = new Client(from, address).connect(address, port);
  const seen = new Set<string | number>();
  for (const length of [5, 0, 1, 1472, 1473, 9000, 60_000, 0]) {
    const answer = await client.ask(randomBytes(length));
    if (typeof answer === 'number') return answer;
    seen.add(answer);
  }
  expect(seen.size).toBe(1);
  return [...seen][0];
}

/** Sends an echo request of this length from a namespace. @returns the reply's length, or the errno's negative */
async function ping(namespace: Namespace, address: string, length: number): Promise<number> {
  const to = addressIn(namespace, address, 0);
  let fd: number;
  {
    using _ = enterNamespace(namespace.pid);
    fd = libc.check(connectPing(to), 'socket');
  }
  const request = randomBytes(length);
  request.writeUInt32BE(address.includes(':') ? 0x80000000 : 0x08000000);
  request.writeUInt32BE(7, 4);
  libc.check(libc.write(fd, request, length), 'write');
  const reply = Buffer.alloc(65536);
  for (;;) {
    const count = libc.read(fd, reply, reply.length);
    const errno = libc.errno();
    if (count < 0 && errno === libc.EAGAIN) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      continue;
    }
    libc.close(fd);
    if (count >= 0) expect(reply.subarray(6, count)).toEqual(request.subarray(6));
    return count < 0 ? -errno : count;
  }
}

class World implements AsyncDisposable {
  private constructor(
    readonly link: Link,
    readonly kernelGuest: KernelGuest,
  ) {}

  static async create(options: Omit<KernelGuestOptions, 'host' | 'program' | 'owner'> = {}): Promise<World> {
    const link = await Link.create();
    link.host.sysctl('net/ipv4/ping_group_range', '0 2147483647');
    const { device: program, owner } = programs;
    // Addresses for documentation are closed.
    const open = [
      '0.0.0.0/0',
      '::/0',
      GATEWAY.ipv4,
      GATEWAY.ipv6,
      '203.0.113.0/24',
      '198.51.100.0/24',
      '2001:db8:1:1::/64',
    ];
    const rules = open.map((range) => ({ allow: true, range }));
    return new World(link, await KernelGuest.create({ host: link.host, program, owner, rules, ...options }));
  }

  get guest(): Namespace {
    return this.kernelGuest.namespace;
  }

  get host(): Namespace {
    return this.link.host;
  }

  get far(): Namespace {
    return this.link.neighbour;
  }

  /** Descriptors of the device's process, and of its owner's. */
  get descriptors(): number[] {
    const device = this.kernelGuest.device.child.pid!;
    return [device, childrenNamed(device, '')[0]!].map((pid) => readdirSync(`/proc/${pid}/fd`).length);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kernelGuest[Symbol.asyncDispose]();
    await this.link[Symbol.asyncDispose]();
  }
}

test('datagrams of all lengths get their answers, and errors reach the program that sent', async () => {
  await using world = await World.create();
  await serve(world.far, 53, INTERNET.ipv4, INTERNET.ipv6);
  await serve(world.host, 9000, '127.0.0.1', '::1');
  for (const address of [INTERNET.ipv4, INTERNET.ipv6]) {
    expect(await converse(world.guest, address, 53)).toMatch(/^(203\.0\.113\.1|2001:db8:1:1::1) \d+$/);
    // No process has the port.
    expect(await converse(world.guest, address, 54)).toBe(-libc.ECONNREFUSED);
  }
  for (const address of [GATEWAY.ipv4, GATEWAY.ipv6]) {
    expect(await converse(world.guest, address, 9000)).toMatch(/^(127\.0\.0\.1|::1) \d+$/);
    expect(await converse(world.guest, address, 9001)).toBe(-libc.ECONNREFUSED);
  }
});

test('hosts outside see one port of a socket, and only those that it has sent to reach it', async () => {
  await using world = await World.create();
  await serve(world.far, 4000, NEIGHBOUR.ipv4, INTERNET.ipv4);
  const client = new Client(world.guest, INTERNET.ipv4);
  const seen = await client.connect(NEIGHBOUR.ipv4, 4000).ask(Buffer.from('one'));
  expect(await client.connect(INTERNET.ipv4, 4000).ask(Buffer.from('two'))).toBe(seen);
  // From an address that was sent to, but another port. The next answer comes after it.
  const stranger = new Client(world.far, NEIGHBOUR.ipv4);
  stranger.connect('203.0.113.1', Number(String(seen).split(' ')[1])).send(Buffer.from('stranger'));
  expect(await stranger.receive()).toBe(-libc.ECONNREFUSED);
  expect(await client.ask(Buffer.from('last'))).toBe(seen);
});

test('clients of a published port are told apart, and answered from the address that they sent to', async () => {
  await using world = await World.create({ ports: [{ protocol: 'udp', host: 5300, guest: 53, count: 1 }] });
  await serve(world.guest, 53, '0.0.0.0', '::');
  for (const [from, address, seen] of [
    [world.host, '127.0.0.1', GATEWAY.ipv4],
    // The client's own address is 127.0.0.1: an answer from there would not reach it.
    [world.host, '127.0.0.2', GATEWAY.ipv4],
    [world.host, '::1', GATEWAY.ipv6],
    [world.host, '203.0.113.1', GATEWAY.ipv4],
    [world.far, '203.0.113.1', NEIGHBOUR.ipv4],
    [world.far, '192.168.7.1', NEIGHBOUR.private],
    [world.far, '2001:db8:1:1::1', NEIGHBOUR.ipv6],
  ] as const) {
    expect([address, String(await converse(from, address, 5300)).split(' ')[0]]).toEqual([address, seen]);
  }
  const clients = Array.from({ length: 60 }, () => new Client(world.far, INTERNET.ipv4).connect('203.0.113.1', 5300));
  for (const client of clients) for (const word of ['one', 'two', 'three']) client.send(Buffer.from(word));
  const seen = new Set<string>();
  for (const client of clients) {
    const answers = [await client.receive(), await client.receive(), await client.receive()].map(String);
    expect(answers.map((each) => each.split(' ')[2]).sort()).toEqual(['one', 'three', 'two']);
    seen.add(answers.map((each) => each.split(' ')[1]).join());
  }
  expect(seen.size).toBe(clients.length);
});

test('a ping outside is answered, and one that the host does not allow is told to be prohibited', async () => {
  await using world = await World.create({ maxConnections: 10 });
  world.guest.sysctl('net/ipv4/ping_group_range', '0 2147483647');
  for (const address of [INTERNET.ipv4, INTERNET.ipv6, GATEWAY.ipv4, GATEWAY.ipv6]) {
    for (const length of [64, 8, 9, 20_000])
      expect([address, await ping(world.guest, address, length)]).toEqual([address, length]);
  }
  world.host.sysctl('net/ipv4/ping_group_range', '1 0');
  expect(await ping(world.guest, NEIGHBOUR.ipv4, 64)).toBe(-libc.EHOSTUNREACH);
  expect(await ping(world.guest, NEIGHBOUR.ipv6, 64)).toBe(-libc.EACCES);
});

test('a guest has no more sockets of its host than the bound', async () => {
  await using world = await World.create({ maxConnections: 10 });
  const [device, owner] = world.descriptors as [number, number];
  const client = new Client(world.guest, INTERNET.ipv4);
  // Some find the error of one before them.
  for (let port = 1; port <= 3000; port++) libc.write(client.connect(INTERNET.ipv4, port).fd, Buffer.from('x'), 1);
  while (world.descriptors[0]! < device + 10) await new Promise((resolve) => setTimeout(resolve, 5));
  const [later, ownerLater] = world.descriptors as [number, number];
  expect(later).toBeLessThanOrEqual(device + 20);
  // None on its way.
  expect(ownerLater).toBeLessThanOrEqual(owner + 64);
});
