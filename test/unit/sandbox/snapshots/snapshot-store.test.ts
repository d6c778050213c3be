// The snapshots of a home: one is there whole or not at all, holds its image, and is refused in one
// line if it is not what was written. A clone has a disk and an identity of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { codeOf, messageOf } from '../../../../errors/index.js';
import { createClone } from '../../../../sandbox/containers/clone.js';
import { Container } from '../../../../sandbox/containers/container.js';
import type { ContainerConfig } from '../../../../sandbox/home/container-record.js';
import { Home } from '../../../../sandbox/home/home.js';
import { homeSize } from '../../../../sandbox/home/home-size.js';
import { membershipsOf } from '../../../../sandbox/home/networks.js';
import { sealed } from '../../../../sandbox/home/records.js';
import { copyDisk } from '../../../../sandbox/machine/copy-disk.js';
import { type Snapshot, SnapshotStore } from '../../../../sandbox/snapshots/snapshot-store.js';
import { writeLayout } from '../../../fixtures/oci-layout.js';
import { tar } from '../../../fixtures/tar-writer.js';
import { bundleProgram } from '../home/bundle.js';
import { containerConfig } from '../home/containers.js';

const DISK = 8 * 2 ** 20;
const BYTE = 2 * 2 ** 20;

let folder: string;
let home: Home;
let store: SnapshotStore;
let config: ContainerConfig;

beforeEach(async () => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  mkdirSync(join(folder, 'runtime'), { mode: 0o700 });
  home = new Home(join(folder, 'home'), join(folder, 'runtime'));
  store = new SnapshotStore(home);
  writeLayout(join(folder, 'image'), [tar([{ path: 'file', data: Buffer.from('x') }])]);
  const { digest } = await home.images.resolve(`oci:${join(folder, 'image')}`);
  const network = { publish: ['80:80'], mac: '02:00:00:00:00:01', aliases: ['db'], dns: ['192.0.2.1'] };
  config = {
    ...containerConfig({ name: 'source', hostname: 'given', memory: 2 ** 27, network }),
    image: digest,
    hostname: 'given',
    env: ['PATH=/bin', 'HOSTNAME=given'],
    labels: { one: '1' },
  };
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

/** Makes a disk that is mostly holes. */
function writeDisk(path: string): void {
  writeFileSync(path, Buffer.concat([Buffer.alloc(BYTE), Buffer.from('a disk')]));
  truncateSync(path, DISK);
}

/** Makes a snapshot as a supervisor and a command would. */
async function make(
  name: string,
  { hasLayer = true, networks = [] }: { hasLayer?: boolean; networks?: string[] } = {},
): Promise<Snapshot> {
  using unfinished = await store.begin();
  mkdirSync(unfinished.machine);
  for (const file of ['manifest.json', 'memory', 'state.json']) writeFileSync(join(unfinished.machine, file), file);
  if (hasLayer) writeDisk(unfinished.layer);
  await unfinished.finish('source', config, networks);
  await unfinished.keep(name, config.image);
  return store.find(name);
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at]! ^= 1;
  rmSync(path);
  writeFileSync(path, bytes);
}

const entries = () => readdirSync(join(home.path, 'snapshots')).sort();

test('snapshots are listed by name, found, and removed with what they hold', async () => {
  expect(store.list()).toEqual([]);
  const second = await make('second');
  await make('first');
  expect(store.list().map(({ name }) => name)).toEqual(['first', 'second']);
  expect(second).toMatchObject({ name: 'second', source: 'source', config });
  expect(statSync(second.path).mode & 0o777).toBe(0o700);
  for (const file of ['layer.ext4', 'machine/manifest.json'])
    expect(statSync(join(second.path, file)).mode & 0o777).toBe(0o400);
  await store.remove('first');
  await expect(home.images.remove(config.image)).rejects.toThrow(`being used by snapshot ${second.id.slice(0, 12)}`);
  await store.remove('second');
  await expect(store.remove('first')).rejects.toMatchObject({ code: 'no-such-snapshot' });
  expect(entries()).toEqual([]);
  await home.images.remove(config.image);
});

test('a name is taken by one', async () => {
  const first = await make('one');
  await expect(make('one')).rejects.toMatchObject({ code: 'conflict', message: 'the snapshot one exists already' });
  await expect(make('../x')).rejects.toMatchObject({ code: 'bad-spec' });
  expect(store.find('one').id).toBe(first.id);
  expect(entries()).toEqual([`.${first.id}`, 'one']);
});

test('the checkpoints of a container are the snapshots of it alone', async () => {
  await make('one');
  const first = config;
  config = { ...config, id: 'b'.repeat(64) };
  await make('two');
  expect(store.ofContainer(first.id).map(({ name }) => name)).toEqual(['one']);
  expect(store.ofContainer(config.id).map(({ name }) => name)).toEqual(['two']);
  expect(store.findOf(first.id, 'one').config).toEqual(first);
  expect(() => store.findOf(config.id, 'one')).toThrow('container bbbbbbbbbbbb has no snapshot one: it is of source');
  expect(() => store.findOf(config.id, 'none')).toThrow('no such snapshot: none');
});

test('what a killed process leaves is removed by the next snapshot, and what another one makes is not', async () => {
  const program = `import { Home } from './sandbox/home/home.js';
    import { SnapshotStore } from './sandbox/snapshots/snapshot-store.js';
    new SnapshotStore(new Home(process.argv[2], process.argv[3])).begin().then(({ path }) => {
      process.stdout.write(path);
      setInterval(() => {}, 1000);
    });`;
  const env = bundleProgram(program, join(folder, 'make.cjs'));
  const child = spawn(process.execPath, [join(folder, 'make.cjs'), home.path, home.runtime], { env });
  const [path] = await once(child.stdout, 'data');
  await make('one');
  expect(existsSync(String(path))).toBe(true);
  child.kill('SIGKILL');
  await once(child, 'close');
  const { id } = await make('two');
  expect(existsSync(String(path))).toBe(false);
  expect(entries()).toEqual([`.${store.find('one').id}`, `.${id}`, 'one', 'two'].sort());
});

test('a snapshot that was half removed is gone', async () => {
  const { path } = await make('one');
  rmSync(join(home.path, 'snapshots/one'));
  expect(store.has('one')).toBe(false);
  await make('two');
  expect(existsSync(path)).toBe(false);
});

describe('refused in one line is', () => {
  const refusal = async () => {
    try {
      await createClone(home, store.find('one'));
      return 'nothing';
    } catch (error) {
      return `${codeOf(error)}: ${messageOf(error)}`;
    }
  };
  const damages: [string, (path: string) => void, RegExp][] = [
    [
      'a record cut short',
      (path) => truncateSync(join(path, 'snapshot.json'), 100),
      /^snapshot: the record of the snapshot one is damaged: tsvm snapshot rm removes it$/,
    ],
    [
      'a missing record',
      (path) => rmSync(join(path, 'snapshot.json')),
      /^snapshot: the record of the snapshot one is damaged/,
    ],
    [
      'a byte of the record that differs',
      (path) => change(join(path, 'snapshot.json'), (text) => text.replace('"/"', '"/x"')),
      /^snapshot: the record of the snapshot one is damaged/,
    ],
    [
      'a byte of the manifest that differs',
      (path) => flip(join(path, 'machine/manifest.json'), 3),
      /^snapshot: the snapshot is damaged: its manifest.json has another checksum$/,
    ],
    [
      'a missing manifest',
      (path) => rmSync(join(path, 'machine/manifest.json')),
      /^snapshot: the snapshot is damaged: ENOENT/,
    ],
    [
      'a byte of the disk that differs',
      (path) => flip(join(path, 'layer.ext4'), BYTE),
      /^snapshot: the snapshot is damaged: its layer.ext4 has another checksum$/,
    ],
    [
      'a byte in a hole of the disk',
      (path) => flip(join(path, 'layer.ext4'), BYTE * 2),
      /^snapshot: the snapshot is damaged: its layer.ext4 has another checksum$/,
    ],
    [
      'a disk cut short',
      (path) => truncateSync(join(path, 'layer.ext4'), DISK - 1),
      /^snapshot: the snapshot is damaged: its layer.ext4 has 8388607 bytes, not 8388608$/,
    ],
    ['a missing disk', (path) => rmSync(join(path, 'layer.ext4')), /^state: cannot copy .*layer.ext4: ENOENT/],
  ];
  test.each(damages)('%s', async (_, damage, message) => {
    const { path } = await make('one');
    damage(path);
    expect(await refusal()).toMatch(message);
    // Nothing is left of the container, and the snapshot can be removed.
    expect(home.containers.folders()).toEqual([]);
    await store.remove('one');
    expect(entries()).toEqual([]);
  });

  test('one of another version', async () => {
    const { path } = await make('one');
    const { version, sha256, ...rest } = JSON.parse(readFileSync(join(path, 'snapshot.json'), 'utf8'));
    rewrite(join(path, 'snapshot.json'), JSON.stringify(sealed({ version: 2, ...rest })));
    expect(await refusal()).toBe('snapshot: the snapshot one has version 2, not 3: another release of tsvm made it');
  });

  test('a link that leads elsewhere', async () => {
    const { path } = await make('one');
    renameSync(path, join(folder, 'elsewhere'));
    rmSync(join(home.path, 'snapshots/one'));
    symlinkSync(join(folder, 'elsewhere'), join(home.path, 'snapshots/one'));
    expect(await refusal().catch(String)).toBe('no-such-snapshot: no such snapshot: one');
  });

  test('one whose record is damaged is not listed, but named', async () => {
    const { path } = await make('one');
    await make('two');
    truncateSync(join(path, 'snapshot.json'), 100);
    expect(store.list().map(({ name }) => name)).toEqual(['two']);
    expect(store.damaged()).toEqual(['one']);
  });

  test('any bit that differs, and any length, in each file that it is answerable for', async () => {
    const { path } = await make('one');
    const disk = readFileSync(join(path, 'layer.ext4'));
    const damage = fc.record({
      file: fc.constantFrom('snapshot.json', 'machine/manifest.json', 'layer.ext4'),
      place: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      bit: fc.option(fc.nat(7)),
    });
    await fc.assert(
      fc.asyncProperty(damage, async ({ file, place, bit }) => {
        const damaged = join(path, file);
        const whole = file === 'layer.ext4' ? disk : readFileSync(damaged);
        const at = Math.floor(place * whole.length);
        const bytes = Buffer.from(bit === null ? whole.subarray(0, at) : whole);
        if (bit !== null) bytes[at]! ^= 1 << bit;
        rmSync(damaged);
        writeFileSync(damaged, bytes);
        expect(await refusal()).toMatch(/^(snapshot|state): [^\n]+$/);
        expect(home.containers.folders()).toEqual([]);
        rmSync(damaged);
        writeFileSync(damaged, whole);
      }),
      { numRuns: 60 },
    );
    expect(await refusal()).toBe('nothing');
  });

  const rewrite = (path: string, text: string) => {
    rmSync(path);
    writeFileSync(path, text);
  };
  const change = (path: string, by: (text: string) => string) => rewrite(path, by(readFileSync(path, 'utf8')));
});

test('a clone has what the snapshot had, but for what only one container can have', async () => {
  const snapshot = await make('one');
  const first = await createClone(home, snapshot, { labels: { two: '2' } });
  const { id, hostname, created, ...rest } = first.config;
  expect(id).not.toBe(config.id);
  expect(hostname).toBe(id.slice(0, 12));
  expect(rest).toMatchObject({
    image: config.image,
    argv: config.argv,
    env: ['PATH=/bin', `HOSTNAME=${hostname}`],
    labels: { one: '1', two: '2' },
  });
  expect(first.config.spec.memory).toBe(2 ** 27);
  expect(first.config.spec.network).toEqual({ dns: ['192.0.2.1'] });
  expect(home.containers.names.of(id)).not.toBe('source');
  const second = await createClone(home, snapshot, { name: 'mine', hostname: 'other', publish: ['81:80'] });
  expect(second.config).toMatchObject({ hostname: 'other', exposed: ['80/tcp'] });
  expect(second.config.spec.network).toEqual({ dns: ['192.0.2.1'], publish: ['81:80'] });
  // The disks are copies, with their holes.
  writeFileSync(first.folder.layer, 'changed', { flag: 'r+' });
  expect(
    readFileSync(second.folder.layer)
      .subarray(BYTE, BYTE + 6)
      .toString(),
  ).toBe('a disk');
  expect(statSync(second.folder.layer)).toMatchObject({
    size: DISK,
    mode: expect.toSatisfy((mode) => (mode & 0o777) === 0o600),
  });
  expect(statSync(second.folder.layer).blocks * 512).toBeLessThan(2 ** 20);
  await expect(createClone(home, snapshot, { name: 'mine' })).rejects.toMatchObject({ code: 'conflict' });
  expect(entries()).toEqual([`.${snapshot.id}`, 'one']);
});

test('a clone is in the private networks of the snapshot, without the aliases', async () => {
  const { folder, config: own } = await createClone(home, await make('one', { networks: ['lan', 'other'] }));
  expect(membershipsOf(folder, own)).toEqual({ lan: [], other: [] });
  const alone = await createClone(home, await make('two'));
  expect(membershipsOf(alone.folder, alone.config)).toEqual({});
});

test('a snapshot without a disk makes a clone without one', async () => {
  config = { ...config, spec: { ...config.spec, readOnly: true } };
  const { folder } = await createClone(home, await make('one', { hasLayer: false }));
  expect(existsSync(folder.layer)).toBe(false);
});

test('a clone whose disk the home has no room for is not made', async () => {
  const snapshot = await make('one');
  vi.stubEnv('TSVM_HOME_SIZE', '1g');
  const { used } = (await homeSize(home.path))!;
  vi.stubEnv('TSVM_HOME_SIZE', `${used + 1024}`);
  await expect(createClone(home, snapshot)).rejects.toMatchObject({
    code: 'no-space',
    message: expect.stringMatching(/^the home has no room for a disk of \d+ bytes/),
  });
  expect(home.containers.folders()).toEqual([]);
  expect(entries()).toEqual([`.${snapshot.id}`, 'one']);
});

describe('a rollback of a container that does not run', () => {
  /** A container that has a snapshot, and a disk with something else on it since. */
  const container = async (isSuspended = false) => {
    const its = home.containers.folder(config.id);
    config = { ...config, spec: { ...config.spec, disk: DISK, autoRemove: isSuspended } };
    const layer = join(folder, 'its-disk');
    writeFileSync(layer, 'since');
    its.make(config, { layer });
    if (isSuspended) mkdirSync(its.suspended);
    const snapshot = await make('one');
    return { its, snapshot, found: Container.find(home, config.id) };
  };
  const refusal = (found: Container, name = 'one') =>
    found.rollback(name).then(
      () => 'nothing',
      (error) => `${error.code}: ${error.message}`,
    );

  test.each<[string, RegExp, (path: string) => void]>([
    [
      'a manifest that is damaged',
      /^snapshot: the snapshot is damaged: its manifest.json has /,
      (path) => flip(join(path, 'machine/manifest.json'), 3),
    ],
    [
      'a disk that is damaged',
      /^snapshot: the snapshot is damaged: its layer.ext4 has another checksum$/,
      (path) => flip(join(path, 'layer.ext4'), BYTE),
    ],
    ['no room', /^no-space: the home has /, () => vi.stubEnv('TSVM_HOME_SIZE', '1m')],
    ['a machine that cannot continue', /^snapshot: the saved machine has no whole manifest.json$/, () => {}],
  ])('changes nothing with %s', async (_, message, damage) => {
    for (const isSuspended of [false, true]) {
      const { its, snapshot, found } = await container(isSuspended);
      damage(snapshot.path);
      expect(await refusal(found)).toMatch(message);
      vi.unstubAllEnvs();
      expect(readFileSync(its.layer, 'utf8')).toBe('since');
      expect(its.isSuspended()).toBe(isSuspended);
      expect(its.state().status).toBe(isSuspended ? 'suspended' : 'created');
      expect(entries()).toEqual([`.${snapshot.id}`, 'one']);
      await store.remove('one');
      config = { ...config, id: 'b'.repeat(64) };
    }
  });

  test('is refused with a snapshot of another one', async () => {
    const { found } = await container();
    config = { ...config, id: 'b'.repeat(64) };
    await make('two');
    expect(await refusal(found, 'two')).toMatch(
      /^no-such-snapshot: container \w{12} has no snapshot two: it is of source$/,
    );
    expect(await refusal(found, 'three')).toBe('no-such-snapshot: no such snapshot: three');
  });
});

test('a copy that fails leaves nothing', async () => {
  await expect(copyDisk(join(folder, 'nothing'), join(folder, 'copy'))).rejects.toMatchObject({ code: 'state' });
  expect(existsSync(join(folder, 'copy'))).toBe(false);
});
