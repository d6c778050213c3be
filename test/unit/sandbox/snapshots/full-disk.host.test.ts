// A full disk in each step of a snapshot, a clone, a rollback and a suspended machine that the owner
// writes: one clear line, nothing half made, and the same step works once there is room. The home is
// on a small tmpfs in a mount namespace. What a machine process writes is tested on machines
// (test/e2e/snapshot.test.ts).
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bundleProgram } from '../home/bundle.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  for (const name of ['runtime', 'disk']) mkdirSync(join(folder, name), { mode: 0o700 });
});

afterEach(() => rmSync(folder, { recursive: true }));

/**
 * Has a container with a disk, and its snapshot `one`. `fill(bytes)` leaves so many bytes free, and
 * `attempt` prints how an act ends, and what it has left of new files. `disk` has 1 MiB of contents.
 */
const SET_UP = `
  import { mkdirSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync, writeSync } from 'node:fs';
  import { join } from 'node:path';
  import { Container } from './sandbox/containers/container.js';
  import { createClone } from './sandbox/containers/clone.js';
  import { Home } from './sandbox/home/home.js';
  import { UnfinishedMachine } from './sandbox/machine/saved-machine.js';
  import { SnapshotStore } from './sandbox/snapshots/snapshot-store.js';
  import { writeLayout } from './test/fixtures/oci-layout.js';
  import { Random } from './test/fixtures/random.js';
  import { tar } from './test/fixtures/tar-writer.js';
  import { containerConfig } from './test/unit/sandbox/home/containers.js';

  const MIB = 2 ** 20;
  const contents = new Random(1).bytes(MIB);
  const home = new Home(join(process.cwd(), 'disk/home'), join(process.cwd(), 'runtime'));
  const store = new SnapshotStore(home);
  const filler = 'disk/filler';

  function fill(left) {
    const { bavail, bsize } = statfsSync('disk');
    writeFileSync(filler, Buffer.alloc(Math.max(bavail * bsize - left, 0)));
  }

  const files = () => readdirSync('disk', { recursive: true }).filter((name) => !/images|layers|filler/.test(name)).sort();

  async function attempt(act) {
    const before = files();
    const end = await act().then(() => 'done', ({ code, message }) => code + ': ' + message);
    const left = files().filter((name) => !before.includes(name));
    console.log(end.replaceAll(process.cwd(), '').replace(/[0-9a-f]{64}/g, 'ID'), left.length === 0 ? 'nothing' : 'left');
  }

  async function twice(left, act) {
    fill(left);
    await attempt(act);
    rmSync(filler);
    await attempt(act);
  }

  async function makeSnapshot(name, config) {
    using unfinished = await store.begin();
    mkdirSync(unfinished.machine);
    writeFileSync(join(unfinished.machine, 'manifest.json'), 'manifest');
    writeFileSync(unfinished.layer, contents);
    await unfinished.finish('source', config, []);
    await unfinished.keep(name, config.image);
  }

  async function set() {
    writeLayout('image', [tar([{ path: 'file', data: Buffer.from('x') }])]);
    const { digest } = await home.images.resolve('oci:' + join(process.cwd(), 'image'));
    const config = { ...containerConfig({ disk: MIB }), image: digest };
    writeFileSync('disk/home/layer', 'since');
    const folder = home.containers.folder(config.id);
    folder.make(config, { layer: 'disk/home/layer' });
    await makeSnapshot('one', config);
    return { config, folder };
  }`;

/** Runs a program on a disk of 12 MiB. Returns its lines. */
function onSmallDisk(body: string): string[] {
  const env = bundleProgram(`${SET_UP}\n(async () => {${body}})();`, join(folder, 'dist/program.cjs'));
  // A saved machine has the version, and the digest of the program of its machine.
  writeFileSync(join(folder, 'package.json'), '{"version":"1"}');
  writeFileSync(join(folder, 'dist/machine.cjs'), '');
  const script = `mount -t tmpfs -o size=12m none disk && exec "${process.execPath}" dist/program.cjs`;
  const { stdout, stderr } = spawnSync('unshare', ['-m', 'sh', '-c', script], { cwd: folder, encoding: 'utf8', env });
  expect(stderr, stdout).toBe('');
  return stdout.trimEnd().split('\n');
}

test('a clone whose disk does not fit is not made, and is made once it fits', () => {
  const lines = onSmallDisk(`
    await set();
    await twice(MIB / 2, () => createClone(home, store.find('one')));`);
  expect(lines).toEqual([
    'no-space: cannot copy a disk to /disk/home/snapshots/.ID/layer.ext4: ENOSPC: no space left on device, 1048576 bytes needed nothing',
    'done left',
  ]);
});

test('a rollback whose disk does not fit changes nothing of the container', () => {
  const lines = onSmallDisk(`
    const { config, folder } = await set();
    fill(MIB / 2);
    await attempt(() => Container.find(home, config.id).rollback('one'));
    rmSync(filler);
    console.log(readFileSync(folder.layer, 'utf8'), folder.state().status);`);
  expect(lines).toEqual([
    'no-space: cannot copy a disk to /disk/home/snapshots/.ID/layer.ext4: ENOSPC: no space left on device, 1048576 bytes needed nothing',
    'since created',
  ]);
});

test('a snapshot is not made without room for its record, its image or its name', () => {
  const lines = onSmallDisk(`
    const { config } = await set();
    for (const pages of [1, 2]) {
      fill(MIB + pages * 4096);
      await attempt(() => makeSnapshot('two', config));
      rmSync(filler);
    }
    await attempt(() => makeSnapshot('two', config));`);
  expect(lines).toEqual([
    'no-space: cannot write /disk/home/snapshots/.ID: ENOSPC: no space left on device, write nothing',
    'no-space: cannot hold sha256:ID: no space left on device nothing',
    'done left',
  ]);
});

test('a saved machine is not kept without room for its copy or its manifest', () => {
  const lines = onSmallDisk(`
    await set();
    writeFileSync('kernel', 'a kernel');
    const spec = {
      ...{ kernel: 'kernel', initramfs: 'initramfs', cpus: 1, memory: 2 * MIB, disks: [] },
      vsock: { guestCid: 3, path: 'vsock' },
    };
    const save = (isReplaced) => async () => {
      using unfinished = new UnfinishedMachine(join(process.cwd(), 'disk/saved'));
      using saved = unfinished.files(2 * MIB);
      for (const { descriptors } of saved.all) writeSync(descriptors[0], contents);
      if (isReplaced) await unfinished.replaceFiles();
      await unfinished.keep(spec, { process: 1, timeLeft: null }, undefined);
    };
    await twice(MIB + 65536, save(true));
    rmSync('disk/saved', { recursive: true });
    await twice(MIB, save(false));`);
  expect(lines).toEqual([
    'no-space: cannot copy /disk/saved.new/memory: ENOSPC: no space left on device, 1048576 bytes needed nothing',
    'done left',
    'no-space: cannot write /disk/saved: ENOSPC: no space left on device, write nothing',
    'done left',
  ]);
});
