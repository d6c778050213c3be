// Proves that a store stays whole when processes that change it are killed at any moment.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openStore, type Store } from '../../../images/index.js';
import { STORE } from '../../../images/store/layout.js';
import { writeLayout } from '../../fixtures/oci-layout.js';
import { Random } from '../../fixtures/random.js';
import { type RunningRegistry, startRegistry } from '../../fixtures/registry.js';
import { type TarMember, tar } from '../../fixtures/tar-writer.js';
import { bundleImages, finished } from './bundle.js';
import { checkedDisk } from './disk-view.js';
import { push } from './registry/scene.js';

const ROUNDS = 50;
const IMAGES = ['one', 'two', 'three'];
/** A process is killed within this many milliseconds of its start of work. */
const LIFE = 150;

let work: string;
let home: string;
let store: Store;
let registry: RunningRegistry;
/** Endless loops, one for each command. */
let loops: Record<'load' | 'pull' | 'prune', string>;
let layouts: string[];

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-killed-'));
  home = join(work, 'home');
  store = openStore(home);
  registry = await startRegistry(join(work, 'registry'));
  const random = new Random(3);
  const base: TarMember[] = Array.from({ length: 40 }, (_, i) => ({ path: `b${i}`, data: random.bytes(3000) }));
  layouts = IMAGES.map((name) => {
    const layout = join(work, name);
    writeLayout(layout, [tar(base), tar([{ path: name, data: random.bytes(20_000) }])], { tag: `${name}:1` });
    return layout;
  });
  await Promise.all(IMAGES.map((name, i) => push(layouts[i]!, `${registry.host}/${name}:1`)));
  const pulls = IMAGES.map((name) => `${registry.host}/${name}:1`);
  const loop = (body: string) => `(async () => { console.log('begun'); for (;;) { ${body} } })()`;
  loops = {
    load: loop(`for (const path of ${JSON.stringify(layouts)}) await store.load(path);`),
    pull: loop(`for (const name of ${JSON.stringify(pulls)}) await store.pull(name);`),
    prune: loop(`await store.prune({ all: true }); await new Promise((resolve) => setTimeout(resolve, 60));`),
  };
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(work, { recursive: true, force: true });
});

/** Every file of the store, with values that change if it is written. */
function fingerprint(): string {
  return execFileSync('find', [home, '-printf', '%p %i %s %T@ %C@\n'], { encoding: 'utf8' });
}

const ls = (folder: string): string[] =>
  existsSync(join(home, STORE, folder)) ? readdirSync(join(home, STORE, folder)) : [];

/**
 * Checks that fsck.erofs accepts the disk of each image, and that the layers give their tars back.
 */
async function checkImages(): Promise<number> {
  const images = await store.list();
  for (const { digest } of images) {
    checkedDisk((await store.resolve(digest)).disk, join(work, 'disk'));
    await store.save([digest], new Writable({ write: (_chunk, _encoding, done) => done() }));
  }
  return images.length;
}

test(`images stay whole when two processes that pull, load or prune are killed, ${2 * ROUNDS} times in all`, {
  timeout: 600_000,
}, async () => {
  const run = await bundleImages(work);
  const random = new Random(3);
  const pairs = [
    [loops.load, loops.prune],
    [loops.pull, loops.prune],
    [loops.pull, loops.load],
    [loops.pull, loops.pull],
  ];
  let seen = 0;
  for (let round = 0; round < ROUNDS; round++) {
    await store.load(layouts[round % layouts.length]!);
    await Promise.all(
      pairs[round % pairs.length]!.map(async (loop) => {
        const child = run(home, loop);
        const end = finished(child);
        await new Promise((resolve) => child.stdout!.once('data', resolve));
        await sleep(random.below(LIFE));
        child.kill('SIGKILL');
        expect((await end).stderr).toBe('');
      }),
    );
    const before = fingerprint();
    seen += await checkImages();
    // Nothing had to be repaired.
    expect(fingerprint()).toBe(before);
  }
  expect(seen).toBeGreaterThan(ROUNDS / 2);
  await store.load(layouts[0]!);
  expect(ls('tmp')).toEqual([]);
  await store.prune({ all: true });
  expect([ls('layers'), ls('images'), ls('names'), ls('tmp')]).toEqual([[], [], [], []]);
});
