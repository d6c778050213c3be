// What a guest reaches of a host that has neighbours with public addresses: two network namespaces,
// a real link between them, and the real device and back end in one of them. The other one is the
// neighbour, a router, and the Internet behind it.
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { NetworkRule } from '../../../../../vmm/machine.js';
import { Link, type Program } from '../../../../fixtures/linked-namespaces.js';

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
  await build({
    entryPoints,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: ['koffi'],
    outfile: program,
  });
});

afterAll(() => rmSync(work, { recursive: true }));

/** A link whose neighbour serves port 8080 on all addresses. */
async function linked(): Promise<Link> {
  const link = await Link.create();
  await link.onNeighbour('-e', SERVER).line();
  return link;
}

const guestOf = (link: Link, rules: NetworkRule[] = []) => link.onHost(program, JSON.stringify(rules));

async function tries(guest: Program, ...addresses: string[]): Promise<string[]> {
  guest.child.stdin!.write(`${addresses.join(' ')}\n`);
  return (await guest.line()).split(' ');
}

/** Tries until the host's changed routes are seen. */
async function becomes(guest: Program, address: string, wanted: string): Promise<void> {
  // Each attempt takes a port of the guest.
  while ((await tries(guest, address))[0] !== wanted) await sleep(20);
}

test('the neighbours are closed, by public addresses too, and what is behind the router is open', async () => {
  await using link = await linked();
  const guest = guestOf(link);
  const neighbour = await tries(guest, '203.0.113.20', '2001:db8:1:1::20', '192.168.7.20');
  expect(neighbour).toEqual(['refused', 'refused', 'refused']);
  expect(await tries(guest, '198.51.100.7', '2606:4700::7')).toEqual(['connected', 'connected']);
  expect(await tries(guest, '203.0.113.1', '2001:db8:1:1::1')).toEqual(['refused', 'refused']);
});

test('a rule within the link opens it, one for all addresses does not', async () => {
  await using link = await linked();
  const range = (each: string): NetworkRule => ({ allow: true, range: each });
  const narrow = guestOf(link, [range('203.0.113.0/24'), range('2001:db8:1:1::20')]);
  expect(await tries(narrow, '203.0.113.20', '2001:db8:1:1::20')).toEqual(['connected', 'connected']);
  expect(await tries(narrow, '203.0.113.1', '198.51.100.7')).toEqual(['refused', 'refused']);
  const wide = guestOf(link, [range('0.0.0.0/0'), range('::/0')]);
  expect(await tries(wide, '203.0.113.20', '2001:db8:1:1::20')).toEqual(['refused', 'refused']);
  expect(await tries(wide, '198.51.100.7', '2606:4700::7')).toEqual(['connected', 'connected']);
});

test('routes are followed as they change, in all tables', async () => {
  await using link = await linked();
  const guest = guestOf(link);
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
  await using link = await linked();
  for (const half of ['0.0.0.0/1', '128.0.0.0/1']) link.ip(`route add ${half} via 203.0.113.20`);
  for (const half of ['::/1', '8000::/1']) link.ip(`-6 route add ${half} via 2001:db8:1:1::20`);
  const guest = guestOf(link);
  expect(await tries(guest, '198.51.100.7', '2606:4700::7')).toEqual(['connected', 'connected']);
  expect(await tries(guest, '203.0.113.20', '2001:db8:1:1::20')).toEqual(['refused', 'refused']);
});
