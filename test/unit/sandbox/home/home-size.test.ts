// `$TSVM_HOME_SIZE`: a full home takes no more, and says so in one line.
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openStore } from '../../../../images/index.js';
import { Home } from '../../../../sandbox/home/home.js';
import { homeSize, roomForDisk, roomInHome } from '../../../../sandbox/home/home-size.js';
import { layerDisk } from '../../../../sandbox/run/layer-disk.js';
import { tar } from '../../../fixtures/tar-writer.js';

const MIB = 2 ** 20;

let folder: string;
let home: Home;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  home = new Home(join(folder, 'home'), join(folder, 'runtime'));
  mkdirSync(home.path, { mode: 0o700 });
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

/** A file of the home with as many bytes on the disk. */
const fill = (name: string, bytes: number) => writeFileSync(join(home.path, name), Buffer.alloc(bytes, 1));

test('without a limit there is room, and nothing is measured', async () => {
  expect(await homeSize(home.path)).toBeUndefined();
  expect(await roomInHome(home.path)).toBe(Number.POSITIVE_INFINITY);
  expect(await roomForDisk(home)).toBe(Number.POSITIVE_INFINITY);
});

test('a full home refuses containers and images in one line', async () => {
  vi.stubEnv('TSVM_HOME_SIZE', '4m');
  fill('log', 5 * MIB);
  const { used } = (await homeSize(home.path))!;
  expect(used).toBeGreaterThan(5 * MIB);
  const message = `the home has ${used} of 4194304 bytes (TSVM_HOME_SIZE): see 'tsvm df', and remove containers, volumes or images`;
  await expect(roomInHome(home.path)).rejects.toMatchObject({ code: 'no-space', message });
  const image = tar([{ path: 'file', data: Buffer.alloc(2 * MIB, 1) }]);
  await expect(openStore(home.path).import(pieces(image), 'small')).rejects.toMatchObject({
    code: 'no-space',
    message: expect.stringMatching(/the home would exceed 4194304 bytes \(TSVM_HOME_SIZE\)/),
  });
  rmSync(join(home.path, 'log'));
  expect(await openStore(home.path).import(pieces(image), 'small')).toBeDefined();
});

test('the disks of containers fit into the home, also when all are full', async () => {
  vi.stubEnv('TSVM_HOME_SIZE', '200m');
  const container = home.containers.folder('a'.repeat(64));
  mkdirSync(container.path, { recursive: true });
  const disk = openSync(container.layer, 'w');
  ftruncateSync(disk, 100 * MIB);
  closeSync(disk);
  const room = await roomForDisk(home);
  expect(room).toBeLessThanOrEqual(100 * MIB);
  expect(room).toBeGreaterThan(99 * MIB);
  const layer = { path: join(folder, 'layer.ext4'), kept: false };
  const message = `no room for a disk of ${150 * MIB} bytes: the home has ${room} left (TSVM_HOME_SIZE)`;
  await expect(layerDisk(layer, 150 * MIB, room)).rejects.toMatchObject({ code: 'no-space', message });
  // A disk of no given size leaves room for others.
  const { size } = await layerDisk(layer, undefined, room);
  expect(size).toBeLessThanOrEqual(50 * MIB + 4096);
});

test('a new volume has the size of $TSVM_VOLUME_SIZE, unless it is given another', () => {
  vi.stubEnv('TSVM_VOLUME_SIZE', '1g');
  expect(home.volumes.open('data').size).toBe(2 ** 30);
  expect(home.volumes.openAnonymous().size).toBe(2 ** 30);
  expect(home.volumes.open('small', {}, { size: 5 * MIB }).size).toBe(5 * MIB);
  vi.stubEnv('TSVM_VOLUME_SIZE', '');
  expect(home.volumes.open('free').size).toBeUndefined();
  expect(home.volumes.open('data').size).toBe(2 ** 30);
});

test.each(['TSVM_HOME_SIZE', 'TSVM_VOLUME_SIZE'])('a %s that is no size is refused in one line', async (variable) => {
  vi.stubEnv(variable, 'large');
  const message = `${variable} is not a size such as 20g: "large"`;
  const act = async () => (variable === 'TSVM_HOME_SIZE' ? await roomInHome(home.path) : home.volumes.open('data'));
  await expect(act()).rejects.toMatchObject({ code: 'bad-settings', message });
});
