// Proves that one socket takes the connections to all TCP ports of a namespace's loopback
// interface, and no others: not those of whoever listens already, and nothing once it is given up.
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openLoopback } from '../../../../vmm/outside/loopback.js';
import { Namespace } from '../../../fixtures/linked-namespaces.js';
import { bundleProgram } from '../../sandbox/home/bundle.js';

/** Says its word to each client. */
const SERVER = `use IO::Socket::IP; $| = 1;
$listener = IO::Socket::IP->new(Listen => 5, LocalHost => $ARGV[0], LocalPort => $ARGV[1]) or die "$@\\n";
print "up\\n";
while ($client = $listener->accept) { print $client "$ARGV[2]\\n"; close $client; }`;

/** Prints what a server says. */
const CLIENT = `use IO::Socket::IP;
$server = IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => $ARGV[1], Timeout => 60, GetAddrInfoFlags => 0);
print $server ? <$server> || "nothing\\n" : "$!\\n";`;

async function taken() {
  const namespace = await Namespace.create();
  onTestFinished(() => namespace[Symbol.asyncDispose]());
  for (const address of ['127.0.0.1', '::1']) {
    const port = address === '::1' ? '7001' : '7000';
    expect(await namespace.start('perl', '-e', SERVER, address, port, 'other').line()).toBe('up');
  }
  namespace.ip('link add eth0 type veth peer name eth1');
  namespace.ip('link set eth0 up');
  namespace.ip('address add 192.0.2.7/24 dev eth0');
  const loopback = openLoopback(`/proc/${namespace.pid}/ns/net`, true);
  if (loopback === undefined) throw new Error('this kernel has no such program');
  const server = createServer((client) => client.end(`${client.localAddress} ${client.localPort}\n`));
  server.listen({ fd: loopback.socket });
  onTestFinished(() => void server.close());
  const ask = (host: string, port: number) => namespace.start('perl', '-e', CLIENT, host, String(port)).line();
  return { ask, link: loopback.link };
}

test('each port of each loopback address leads to it, but for those of others', async () => {
  const { ask, link } = await taken();
  expect(await ask('127.0.0.1', 80)).toBe('::ffff:127.0.0.1 80');
  expect(await ask('127.1.2.3', 65_535)).toBe('::ffff:127.1.2.3 65535');
  expect(await ask('::1', 8080)).toBe('::1 8080');
  for (const [address, port] of [['127.0.0.1', 7000] as const, ['::1', 7001] as const]) {
    expect(await ask(address, port)).toBe('other');
  }
  expect(await ask('192.0.2.7', 80)).toBe('Connection refused');
  closeSync(link);
  for (const address of ['127.0.0.1', '::1']) expect(await ask(address, 80)).toBe('Connection refused');
  expect(await ask('127.0.0.1', 7000)).toBe('other');
});

test('other namespaces are left alone', async () => {
  const { link } = await taken();
  onTestFinished(() => closeSync(link));
  // One that was free a moment ago.
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  const answer = await new Promise((resolve) => {
    connect(port, '127.0.0.1').once('connect', resolve).once('error', resolve);
  });
  expect(answer).toMatchObject({ code: 'ECONNREFUSED' });
});

test('a user whom the kernel does not let has none', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-loopback-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const program = join(folder, 'program.cjs');
  const env = bundleProgram(
    `import { openLoopback } from './vmm/outside/loopback.ts';
     console.log(openLoopback('/proc/self/ns/net', true) ?? 'none');`,
    program,
  );
  const words = ['--map-root-user', '--net', process.execPath, program];
  expect(execFileSync('unshare', words, { encoding: 'utf8', env })).toBe('none\n');
});
