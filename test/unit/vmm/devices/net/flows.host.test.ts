// What a guest's network loses: nothing. Thousands of connections of all kinds, from the guest and
// to its published ports, through the real device, the real owner and real links. Each side checks
// each byte.
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { CONVERSATIONS, type Conversation } from '../../../../fixtures/flows/conversations.js';
import type { Counted, Order, Served } from '../../../../fixtures/flows/ends.js';
import { KernelGuest } from '../../../../fixtures/flows/kernel-guest.js';
import { GATEWAY } from '../../../../fixtures/frames.js';
import { INTERNET, Link, type Namespace, type Program } from '../../../../fixtures/linked-namespaces.js';

const flows = fileURLToPath(new URL('../../../../fixtures/flows/', import.meta.url));
/** The first port of a server. */
const FIRST = 9000;

// Thousands of connections take minutes on a host that other work keeps busy.
vi.setConfig({ testTimeout: 600_000 });

let work: string;
const programs = { device: '', owner: '', ends: '' };

beforeAll(async () => {
  work = mkdtempSync('/tmp/tsvm-test-');
  symlinkSync(join(flows, '../../../node_modules'), join(work, 'node_modules'));
  for (const name of ['device', 'owner', 'ends'] as const) {
    programs[name] = join(work, `${name}.mjs`);
    const entryPoints = [join(flows, `${name}.ts`)];
    await build({
      ...{ entryPoints, bundle: true, format: 'esm', platform: 'node', target: 'node20', external: ['koffi'] },
      outfile: programs[name],
    });
  }
});

afterAll(() => rmSync(work, { recursive: true }));

/** @param address of its UDP socket. Default: any. */
async function serverIn(namespace: Namespace, address = '::'): Promise<Program> {
  const server = namespace.start(process.execPath, programs.ends, 'serve', String(FIRST), address);
  await server.line();
  return server;
}

/** A client that takes orders. */
class Client {
  private constructor(readonly program: Program) {}

  static async in(namespace: Namespace): Promise<Client> {
    const program = namespace.start(process.execPath, programs.ends, 'load');
    await program.line();
    return new Client(program);
  }

  async do(order: Order): Promise<Counted> {
    this.program.child.stdin!.write(`${JSON.stringify(order)}\n`);
    return JSON.parse(await this.program.line());
  }
}

/** What a server has counted. */
async function served(server: Program): Promise<Served> {
  server.child.stdin!.write('\n');
  return JSON.parse(await server.line());
}

const portOf = (conversation: Conversation, first = FIRST) => first + CONVERSATIONS.indexOf(conversation);

/** The published ports of the guest: those of its server, from this port of the host on. */
const PUBLISHED = 9100;
const HOST = { ipv4: '203.0.113.1', ipv6: '2001:db8:1:1::1' };

/** A guest, its host and the host's neighbour, with a server and a client in each. */
class World implements AsyncDisposable {
  private constructor(
    readonly link: Link,
    readonly guest: KernelGuest,
    readonly servers: Record<'guest' | 'host' | 'far', Program>,
    readonly clients: Record<'guest' | 'host' | 'far', Client>,
  ) {}

  static async create(maxConnections?: number): Promise<World> {
    const link = await Link.create();
    const guest = await KernelGuest.create({
      ...{ host: link.host, program: programs.device, owner: programs.owner },
      ports: [
        { protocol: 'tcp', host: PUBLISHED, guest: FIRST, count: CONVERSATIONS.length },
        { protocol: 'udp', host: PUBLISHED, guest: FIRST, count: 1 },
      ],
      ...(maxConnections === undefined ? {} : { maxConnections }),
    });
    const [a, b, c] = [guest.namespace, link.host, link.neighbour];
    const servers = { guest: await serverIn(a), host: await serverIn(b), far: await serverIn(c, INTERNET.ipv6) };
    const clients = { guest: await Client.in(a), host: await Client.in(b), far: await Client.in(c) };
    return new World(link, guest, servers, clients);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.guest[Symbol.asyncDispose]();
    await this.link[Symbol.asyncDispose]();
  }
}

interface Way {
  from: keyof World['clients'];
  to: keyof World['servers'];
  host: string;
  first: number;
}

const WAYS: Way[] = [
  { from: 'guest', to: 'host', host: GATEWAY.ipv4, first: FIRST },
  { from: 'guest', to: 'far', host: INTERNET.ipv6, first: FIRST },
  { from: 'host', to: 'guest', host: '127.0.0.1', first: PUBLISHED },
  { from: 'host', to: 'guest', host: '::1', first: PUBLISHED },
  { from: 'far', to: 'guest', host: HOST.ipv4, first: PUBLISHED },
  { from: 'far', to: 'guest', host: HOST.ipv6, first: PUBLISHED },
];

/** Fails unless both sides had that many whole conversations. */
async function whole(world: World, way: Way, conversation: Conversation, count: number, width: number): Promise<void> {
  const { from, to, host, first } = way;
  const port = portOf(conversation, first);
  const { ends } = await world.clients[from].do({ order: 'converse', conversation, host, port, count, width });
  const { [conversation]: theirs } = await served(world.servers[to]);
  expect({ ...way, conversation, client: ends, server: theirs.ends }).toEqual({
    ...{ ...way, conversation },
    client: { ok: count },
    server: { ok: count },
  });
}

test('many connections at once, of all kinds and all ways, lose no byte', async () => {
  await using world = await World.create();
  for (const way of WAYS) {
    for (const conversation of ['request', 'banner'] as const) await whole(world, way, conversation, 500, 100);
    for (const conversation of ['client-half', 'server-half', 'client-reset', 'server-reset'] as const) {
      await whole(world, way, conversation, 60, 20);
    }
    const { from, host, first } = way;
    const datagrams = await world.clients[from].do({ order: 'datagrams', host, port: first, count: 300, width: 10 });
    expect({ way, ends: datagrams.ends }).toEqual({ way, ends: { ok: 300 } });
  }
});

test('idle connections stay beside thousands of short ones', async () => {
  await using world = await World.create(3000);
  const idle = 50;
  for (const [from, host, port] of [
    ['guest', GATEWAY.ipv4, portOf('echo')],
    ['far', HOST.ipv6, portOf('echo', PUBLISHED)],
  ] as const) {
    const held = await world.clients[from].do({ order: 'hold', host, port, count: idle });
    expect(held.ends).toEqual({ ok: idle });
  }
  for (const way of [WAYS[1]!, WAYS[2]!]) await whole(world, way, 'request', 3000, 200);
  for (const from of ['guest', 'far'] as const) {
    expect((await world.clients[from].do({ order: 'touch' })).ends).toEqual({ ok: idle });
    expect((await world.clients[from].do({ order: 'release' })).ends).toEqual({ ok: idle });
  }
});

test('two thousand connections at once are all answered', async () => {
  await using world = await World.create();
  for (const way of [WAYS[0]!, WAYS[3]!]) await whole(world, way, 'request', 2000, 2000);
});

test('one connection too many is refused either way, and the others stay', async () => {
  const most = 40;
  await using world = await World.create(most);
  const hold = (from: 'guest' | 'far', host: string, port: number) =>
    world.clients[from].do({ order: 'hold', host, port, count: most / 2 });
  expect((await hold('guest', INTERNET.ipv4, portOf('echo'))).ends).toEqual({ ok: most / 2 });
  expect((await hold('far', HOST.ipv4, portOf('echo', PUBLISHED))).ends).toEqual({ ok: most / 2 });
  for (const [from, host, first] of [
    ['guest', INTERNET.ipv4, FIRST],
    ['host', '127.0.0.1', PUBLISHED],
  ] as const) {
    const order = { order: 'converse', conversation: 'request', host, port: first, count: 20, width: 5 } as const;
    const { ends } = await world.clients[from].do(order);
    const [end] = Object.keys(ends);
    expect(end).toMatch(/ECONNREFUSED|ECONNRESET/);
  }
  for (const from of ['guest', 'far'] as const) {
    expect((await world.clients[from].do({ order: 'touch' })).ends).toEqual({ ok: most / 2 });
    expect((await world.clients[from].do({ order: 'release' })).ends).toEqual({ ok: most / 2 });
  }
  await whole(world, WAYS[1]!, 'request', 20, 5);
});
