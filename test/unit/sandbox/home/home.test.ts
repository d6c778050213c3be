// Proves that each store of a home keeps to its own home, and makes nothing before it is used.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Home } from '../../../../sandbox/home/home.js';
import { setMemberships } from '../../../../sandbox/home/networks.js';
import { makeContainer } from './containers.js';

let folder: string;
let home: Home;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  home = new Home(join(folder, 'home'), join(folder, 'runtime'));
});

afterEach(() => rmSync(folder, { recursive: true }));

test('reading a home makes no file', () => {
  expect(home.volumes.list()).toEqual([]);
  expect(home.volumes.find('data')).toBeUndefined();
  expect(home.networks.list()).toEqual([]);
  expect(home.containers.list()).toEqual([]);
  expect(() => home.containers.find('web')).toThrow(/no such container/);
  expect(home.isReadOnly).toBe(false);
  expect(readdirSync(folder)).toEqual([]);
});

test('two homes share nothing', async () => {
  const other = new Home(join(folder, 'other'), join(folder, 'runtime'));
  home.volumes.open('data');
  home.networks.create('lan');
  await makeContainer(home, 'web');
  expect(other.volumes.list()).toEqual([]);
  expect(other.networks.list()).toEqual([]);
  expect(other.containers.list()).toEqual([]);
  await makeContainer(other, 'web');
  expect(other.containers.find('web').folder.id).not.toBe(home.containers.find('web').folder.id);
});

describe('a volume', () => {
  test('is made once, and found with its labels', () => {
    const made = home.volumes.open('data', { use: 'test' });
    expect(home.volumes.open('data', { use: 'other' })).toEqual(made);
    expect(home.volumes.list()).toEqual([made]);
    expect(existsSync(made.mountpoint)).toBe(true);
  });

  test.each(['', '{"createdAt":', 'null', '[]', '{"createdAt":1,"labels":[]}', '{"createdAt":"x","labels":null}'])(
    'whose record is %j after a power failure is there with its files, and is removed',
    async (text) => {
      const { mountpoint } = home.volumes.open('data', { use: 'test' });
      const other = home.volumes.open('other');
      writeFileSync(join(mountpoint, '../volume.json'), text);
      writeFileSync(join(mountpoint, 'file'), 'kept');
      const found = {
        ...{ name: 'data', mountpoint, labels: {} },
        createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      };
      expect(home.volumes.list()).toEqual([found, other]);
      expect(home.volumes.open('data')).toEqual(found);
      expect(readdirSync(mountpoint)).toEqual(['file']);
      await home.volumes.remove('data');
      expect(home.volumes.list()).toEqual([other]);
    },
  );

  test('is removed with its container, also if another one cannot be', async () => {
    home.volumes.open('second');
    const mounts = ['no/volume', 'second'].map((source) => ({
      ...{ type: 'volume' as const, target: `/${source}` },
      ...{ source, anonymous: true },
    }));
    await expect(home.volumes.removeAnonymous(mounts)).rejects.toMatchObject({ code: 'bad-spec' });
    expect(home.volumes.list()).toEqual([]);
  });

  test('is removed when no container has it', async () => {
    home.volumes.open('data');
    const web = await makeContainer(home, 'web', { mounts: [{ type: 'volume', source: 'data', target: '/data' }] });
    expect(home.volumes.users('data')).toEqual([web.id]);
    await expect(home.volumes.remove('data')).rejects.toMatchObject({ code: 'conflict' });
    web.remove(home.runtime);
    await home.volumes.remove('data');
    await expect(home.volumes.remove('data')).rejects.toMatchObject({ code: 'no-such-volume' });
  });

  test('is filled while it is empty, and not again', async () => {
    const fill = (text: string) =>
      home.volumes.fill('data', {}, async (path) => {
        writeFileSync(join(path, text), '');
        return true;
      });
    await fill('first');
    await fill('second');
    expect(readdirSync(home.volumes.open('data').mountpoint)).toEqual(['first']);
  });
});

describe('a private network', () => {
  test('is found by its name, its ID and the beginning of its ID', () => {
    const lan = home.networks.create('lan', { internal: true, labels: { use: 'test' } });
    for (const reference of ['lan', lan.id, lan.id.slice(0, 4)]) expect(home.networks.find(reference)).toEqual(lan);
    expect(() => home.networks.find('wan')).toThrow(/not found/);
    expect(() => home.networks.create('lan')).toThrow(/already exists/);
    expect(() => home.networks.create('passt')).toThrow(/invalid network name/);
  });

  test('has the containers that were made in it or connected to it', async () => {
    const lan = home.networks.create('lan', { internal: true });
    const wan = home.networks.create('wan');
    const web = await makeContainer(home, 'web', { network: { mode: 'lan', aliases: ['www'] } });
    const db = await makeContainer(home, 'db');
    setMemberships(db, { lan: [], wan: ['store'] });
    expect(home.networks.members('lan').sort()).toEqual([web.id, db.id].sort());
    expect(home.networks.members('wan')).toEqual([db.id]);
    mkdirSync(join(folder, 'runtime'), { mode: 0o700 });
    const { config } = home.containers.find('db');
    expect(home.networks.ofContainer(db, config)).toEqual({
      internal: false,
      peers: [
        { name: 'lan', folder: join(folder, 'runtime/networks', lan.id.slice(0, 12)), names: ['db', db.shortId] },
        {
          name: 'wan',
          folder: join(folder, 'runtime/networks', wan.id.slice(0, 12)),
          names: ['db', db.shortId, 'store'],
        },
      ],
    });
    expect(home.networks.ofContainer(web, home.containers.find('web').config).internal).toBe(true);
  });

  test('is removed unless a container runs in it', async () => {
    home.networks.create('lan');
    const web = await makeContainer(home, 'web', { network: { mode: 'lan' } });
    const lock = await web.lock();
    await expect(home.networks.remove('lan')).rejects.toThrow(/active endpoints: web/);
    lock?.[Symbol.dispose]();
    await home.networks.remove('lan');
    expect(home.networks.list()).toEqual([]);
  });
});

test('events are read back between two times', async () => {
  await makeContainer(home, 'web');
  const before = Date.now();
  home.events.record('f'.repeat(64), 'start', { image: 'debian:12' });
  const events = home.events.read({ since: before, until: Date.now() + 1 });
  const { value } = await events.next();
  expect(value).toMatchObject({ Action: 'start', Actor: { Attributes: { image: 'debian:12' } } });
  expect(await events.next()).toMatchObject({ done: true });
});
