// What a guest reaches of a host that has neighbours with public addresses: two network namespaces,
// a real link between them, and the real device and back end in one of them. The other one is the
// neighbour, a router, and the Internet behind it.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { NetworkRule } from '../../../../../vmm/machine.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const SERVER =
  "require('node:net').createServer((socket) => socket.on('error', () => {})).listen(8080, '::', () => console.log('up'))";

let work: string;
let program: string;

beforeAll(async () => {
  work = mkdtempSync('/tmp/tsvm-test-');
  symlinkSync(join(here, '../../../../../node_modules'), join(work, 'node_modules'));
  program = join(work, 'guest.mjs');
  const entryPoints = [join(here, 'guest-in-namespace.ts')];
  await build({ entryPoints, bundle: true, format: 'esm', platform: 'node', external: ['koffi'], outfile: program });
});

afterAll(() => rmSync(work, { recursive: true }));

/** A process whose lines can be waited for. */
class Program implements Disposable {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(command: string, ...words: string[]) {
    this.child = spawn(command, words, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
  }

  get pid(): string {
    return String(this.child.pid);
  }

  async line(): Promise<string> {
    const { value } = await this.#lines.next();
    return value;
  }

  [Symbol.dispose](): void {
    this.child.kill('SIGKILL');
  }
}

/** A host and its neighbour, linked. */
class Link implements AsyncDisposable {
  readonly #host: Program;
  readonly #neighbour: Program;
  readonly #server: Program;

  private constructor(host: Program, neighbour: Program, server: Program) {
    this.#host = host;
    this.#neighbour = neighbour;
    this.#server = server;
  }

  static async create(): Promise<Link> {
    const namespace = () => new Program('unshare', '-n', 'sh', '-c', 'echo up; exec sleep infinity');
    const [host, neighbour] = [namespace(), namespace()];
    await Promise.all([host.line(), neighbour.line()]);
    const [a, b] = [host.pid, neighbour.pid];
    inNamespace(a, `link add eth0 type veth peer name eth0 netns ${b}`);
    for (const [pid, last] of [
      [a, '1'],
      [b, '20'],
    ] as const) {
      for (const each of ['lo', 'eth0']) inNamespace(pid, `link set ${each} up`);
      inNamespace(pid, `address add 203.0.113.${last}/24 dev eth0`);
      inNamespace(pid, `address add 192.168.7.${last}/24 dev eth0`);
      inNamespace(pid, `address add 2001:db8:1:1::${last}/64 dev eth0 nodad`);
    }
    for (const address of ['198.51.100.7/32', '2606:4700::7/128']) inNamespace(b, `address add ${address} dev lo`);
    inNamespace(a, 'route add default via 203.0.113.20');
    inNamespace(a, '-6 route add default via 2001:db8:1:1::20');
    const server = new Program('nsenter', '-t', b, '-n', process.execPath, '-e', SERVER);
    await server.line();
    return new Link(host, neighbour, server);
  }

  /** Changes the host's network. */
  ip(words: string): void {
    inNamespace(this.#host.pid, words);
  }

  guest(rules: NetworkRule[] = []): Program {
    return new Program('nsenter', '-t', this.#host.pid, '-n', process.execPath, program, JSON.stringify(rules));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of [this.#server, this.#neighbour, this.#host]) {
      each[Symbol.dispose]();
      await once(each.child, 'exit');
    }
  }
}

function inNamespace(pid: string, words: string): void {
  execFileSync('nsenter', ['-t', pid, '-n', 'ip', ...words.split(' ')]);
}

async function tries(guest: Program, ...addresses: string[]): Promise<string[]> {
  guest.child.stdin!.write(`${addresses.join(' ')}\n`);
  return (await guest.line()).split(' ');
}

/** Tries until the host's changed routes are seen. */
async function becomes(guest: Program, address: string, wanted: string): Promise<void> {
  while ((await tries(guest, address))[0] !== wanted);
}

test('the neighbours are closed, by public addresses too, and what is behind the router is open', async () => {
  await using link = await Link.create();
  using guest = link.guest();
  const neighbour = await tries(guest, '203.0.113.20', '2001:db8:1:1::20', '192.168.7.20');
  expect(neighbour).toEqual(['refused', 'refused', 'refused']);
  expect(await tries(guest, '198.51.100.7', '2606:4700::7')).toEqual(['connected', 'connected']);
  expect(await tries(guest, '203.0.113.1', '2001:db8:1:1::1')).toEqual(['refused', 'refused']);
});

test('a rule within the link opens it, one for all addresses does not', async () => {
  await using link = await Link.create();
  const range = (each: string): NetworkRule => ({ allow: true, range: each });
  using narrow = link.guest([range('203.0.113.0/24'), range('2001:db8:1:1::20')]);
  expect(await tries(narrow, '203.0.113.20', '2001:db8:1:1::20')).toEqual(['connected', 'connected']);
  expect(await tries(narrow, '203.0.113.1', '198.51.100.7')).toEqual(['refused', 'refused']);
  using wide = link.guest([range('0.0.0.0/0'), range('::/0')]);
  expect(await tries(wide, '203.0.113.20', '2001:db8:1:1::20')).toEqual(['refused', 'refused']);
  expect(await tries(wide, '198.51.100.7', '2606:4700::7')).toEqual(['connected', 'connected']);
});

test('routes are followed as they change, in all tables', async () => {
  await using link = await Link.create();
  using guest = link.guest();
  expect(await tries(guest, '198.51.100.7', '2606:4700::7')).toEqual(['connected', 'connected']);
  link.ip('route add 198.51.100.0/24 via 203.0.113.20 table 100');
  await becomes(guest, '198.51.100.7', 'refused');
  link.ip('route del 198.51.100.0/24 table 100');
  await becomes(guest, '198.51.100.7', 'connected');
  link.ip('-6 route add 2606:4700::/64 via 2001:db8:1:1::20');
  await becomes(guest, '2606:4700::7', 'refused');
  link.ip('-6 route del 2606:4700::/64');
  await becomes(guest, '2606:4700::7', 'connected');
});

test('a default in halves leaves the Internet open', async () => {
  await using link = await Link.create();
  for (const half of ['0.0.0.0/1', '128.0.0.0/1']) link.ip(`route add ${half} via 203.0.113.20`);
  for (const half of ['::/1', '8000::/1']) link.ip(`-6 route add ${half} via 2001:db8:1:1::20`);
  using guest = link.guest();
  expect(await tries(guest, '198.51.100.7', '2606:4700::7')).toEqual(['connected', 'connected']);
  expect(await tries(guest, '203.0.113.20', '2001:db8:1:1::20')).toEqual(['refused', 'refused']);
});
