// A registry leads a pull nowhere that is nearer to this host than itself: not to services of this
// host, not to those of its network, whatever the way and the spelling. The registry is on another
// host, in a network namespace of its own.
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeCertificates } from '../../../fixtures/certificates.js';
import { Link, NEIGHBOUR, type Program } from '../../../fixtures/linked-namespaces.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const REGISTRY = `${NEIGHBOUR.ipv4}:8443`;

let work: string;
let link: Link;
let inside: Program;
let elsewhere: Program;
let puller: Program;

beforeAll(async () => {
  work = mkdtempSync('/tmp/tsvm-test-');
  symlinkSync(join(here, '../../../../node_modules'), join(work, 'node_modules'));
  const names = ['IP:127.0.0.1', 'IP:203.0.113.1', `IP:${NEIGHBOUR.ipv4}`, `IP:${NEIGHBOUR.private}`, 'DNS:localhost'];
  const { authority } = makeCertificates(work, names.join(','));
  await build({
    entryPoints: ['pull-in-namespace.ts', 'servers-in-namespace.ts'].map((name) => join(here, name)),
    ...{ bundle: true, format: 'esm', platform: 'node', target: 'node20', external: ['koffi'] },
    ...{ outdir: work, outExtension: { '.js': '.mjs' } },
  });
  link = await Link.create();
  const servers = join(work, 'servers-in-namespace.mjs');
  const registry = link.onNeighbour(servers, 'registry', work, NEIGHBOUR.ipv4);
  elsewhere = link.onNeighbour(servers, 'service', work, '::');
  inside = link.onHost(servers, 'service', work, '::');
  for (const each of [registry, elsewhere, inside]) expect(await each.line()).toBe('up');
  puller = link.onHost(join(work, 'pull-in-namespace.mjs'), join(work, 'home'), authority);
});

afterAll(async () => {
  await link[Symbol.asyncDispose]();
  rmSync(work, { recursive: true });
});

/** Pulls, and returns the code and the message of its error. */
async function pull(lead: string, settings: object = {}): Promise<[string, string]> {
  puller.child.stdin!.write(`${JSON.stringify({ name: `${REGISTRY}/${lead}`, settings })}\n`);
  return JSON.parse(await puller.line());
}

/** The next request that a service gets is the one that this makes. */
async function expectNoRequest(service: Program, address: string): Promise<void> {
  const [code] = await pull(`redirect/https/${address}_18998`, { [`${address}:18998`]: { internal: true } });
  expect([code, await service.line()]).toEqual(['network', 'GET /inside?x=1']);
}

test.each([
  ['127.0.0.1', '127.0.0.1'],
  ['a name of this host', 'localhost'],
  ["this host's public address", '203.0.113.1'],
])('no redirect and no token server leads to %s', async (_, host) => {
  for (const how of ['redirect', 'realm']) {
    for (const [scheme, port] of [
      ['https', '18998'],
      ['http', '18999'],
    ] as const) {
      const [code, message] = await pull(`${how}/${scheme}/${host}_${port}`);
      expect(code).toBe('network');
      expect(message).toMatch(scheme === 'https' ? /which is nearer to this host than the registry/ : /TLS|not https/);
    }
  }
  await expectNoRequest(inside, '127.0.0.1');
});

test('no redirect and no token server leads into a private network', async () => {
  for (const how of ['redirect', 'realm']) {
    const [code, message] = await pull(`${how}/https/${NEIGHBOUR.private}_18998`);
    expect([code, message]).toEqual(['network', expect.stringMatching(/which is nearer/)]);
  }
  await expectNoRequest(elsewhere, NEIGHBOUR.private);
});

test('a public server to which the registry redirects leads no nearer either', async () => {
  const [code, message] = await pull('chain/https/127.0.0.1_18998');
  expect(await elsewhere.line()).toMatch(/^GET \/forward\//);
  expect([code, message]).toEqual(['network', expect.stringMatching(/which is nearer/)]);
  await expectNoRequest(inside, '127.0.0.1');
});

test('a public server may be asked, but what it says is not told', async () => {
  const [code, message] = await pull(`redirect/https/${NEIGHBOUR.ipv4}_18998`);
  expect(await elsewhere.line()).toBe('GET /inside?x=1');
  expect(code).toBe('network');
  expect(message).toMatch(/: 203\.0\.113\.20:18998 gives no manifest: HTTP status 403$/);
});
