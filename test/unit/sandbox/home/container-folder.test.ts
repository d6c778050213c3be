// Proves that the state of a container is true however its supervisor ended, and that containers
// are found, removed and cleaned up.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Container } from '../../../../sandbox/containers/container.js';
import { ContainerFolder } from '../../../../sandbox/home/container-folder.js';
import { bootId, CREATED } from '../../../../sandbox/home/container-record.js';
import { Home } from '../../../../sandbox/home/home.js';
import { FileLock } from '../../../../sandbox/home/lock.js';
import { openRuntimeFolder, SocketFolder } from '../../../../sandbox/home/socket-folder.js';
import { bundleProgram } from './bundle.js';
import { containerConfig, makeContainer } from './containers.js';

let programs: string;
let home: Home;
let env: NodeJS.ProcessEnv;

beforeAll(() => {
  programs = mkdtempSync('/tmp/tsvm-test-');
  env = bundleProgram(
    `import { Home } from './sandbox/home/home.ts';
      const [home, id, state] = process.argv.slice(2);
      const folder = new Home(home).containers.folder(id);
      folder.lock().then((lock) => {
        globalThis.lock = lock;
        folder.writeState({ ...JSON.parse(state), supervisorPid: process.pid });
        console.log('up');
      });
      setInterval(() => {}, 1000);`,
    join(programs, 'supervisor.cjs'),
  );
});

afterAll(() => rmSync(programs, { recursive: true }));

beforeEach(() => {
  home = new Home(mkdtempSync('/tmp/tsvm-test-'));
});

afterEach(() => rmSync(home.path, { recursive: true }));

/**
 * Starts a process that holds the lock of the container and records `status`.
 * @returns kills the process
 */
async function supervise(folder: ContainerFolder, status: string) {
  const state = { ...CREATED, status, startedAt: '2026-01-01T00:00:00Z', bootId: bootId() };
  const argv = [join(programs, 'supervisor.cjs'), home.path, folder.id, JSON.stringify(state)];
  const child = spawn(process.execPath, argv, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env,
  });
  await once(child.stdout, 'data');
  return async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
}

describe('the state', () => {
  test.each(['running', 'paused', 'restarting'])(
    '%s holds while the supervisor lives, and no longer',
    async (status) => {
      const folder = await makeContainer(home, 'box');
      const kill = await supervise(folder, status);
      expect(folder.state().status).toBe(status);
      expect(await folder.lock()).toBeUndefined();
      await kill();
      expect(folder.state()).toMatchObject({ status: 'exited', exitCode: 255 });
      expect(folder.state().supervisorPid).toBeUndefined();
      using lock = await folder.lock();
      expect(lock).toBeDefined();
    },
  );

  test('is that of a killed supervisor while another process tidies up, and when the next one begins', async () => {
    const folder = await makeContainer(home, 'box');
    await (await supervise(folder, 'running'))();
    const held = folder.hold();
    expect(folder.isSupervised()).toBe(false);
    expect(folder.state()).toMatchObject({ status: 'exited', exitCode: 255 });
    expect(folder.hold()).toBeUndefined();
    const next = folder.lock();
    held![Symbol.dispose]();
    using lock = await next;
    expect(lock).toBeDefined();
    expect(folder.isSupervised()).toBe(true);
    expect(folder.state()).toMatchObject({ status: 'exited', exitCode: 255, isOrphaned: true });
    expect(folder.hold()).toBeUndefined();
  });

  test('of one that begins while it is read is not that of a killed one', async () => {
    const { id } = await makeContainer(home, 'box');
    let lock: FileLock | undefined;
    /** Another supervisor begins right after the first look at the lock. */
    class Raced extends ContainerFolder {
      override isSupervised(): boolean {
        const isSupervised = super.isSupervised();
        lock ??= FileLock.take(join(this.path, 'lock'));
        this.writeState({ ...CREATED, supervisorPid: process.pid });
        return isSupervised;
      }
    }
    const state = new Raced(home.containers.path, id).state();
    lock![Symbol.dispose]();
    expect(state).toEqual({ ...CREATED, supervisorPid: process.pid });
  });

  test('is always read complete while it is being rewritten', async () => {
    const folder = await makeContainer(home, 'box');
    for (let count = 0; count < 200; count++) {
      folder.writeState({ ...CREATED, restartCount: count });
      expect(folder.state().restartCount).toBe(count);
    }
    expect(readdirSync(folder.path).sort()).toEqual(['config.json', 'state.json']);
  });

  test('is that of a new container if the host went down before it was written', async () => {
    const folder = await makeContainer(home, 'box');
    writeFileSync(join(folder.path, 'state.json'), '');
    expect(folder.state()).toEqual(CREATED);
  });
});

test('any number of readers query the lock without taking it', async () => {
  const folder = await makeContainer(home, 'box');
  expect(folder.isSupervised()).toBe(false);
  using lock = await folder.lock();
  expect(lock).toBeDefined();
  for (let count = 0; count < 10; count++) expect(folder.isSupervised()).toBe(true);
  lock![Symbol.dispose]();
  expect(folder.isSupervised()).toBe(false);
});

test('a supervisor that cannot read the record leaves the lock', async () => {
  const folder = await makeContainer(home, 'box');
  const state = join(folder.path, 'state.json');
  rmSync(state);
  mkdirSync(state);
  await expect(folder.lock()).rejects.toThrow(/cannot read/);
  using lock = folder.hold();
  expect(lock).toBeDefined();
});

test('a container that another process has removed is held by nobody', async () => {
  const folder = await makeContainer(home, 'box');
  folder.remove(home.runtime);
  expect(folder.hold()).toBeUndefined();
  expect(await folder.lock()).toBeUndefined();
  await home.removeDamaged(folder);
});

describe('a container is found', () => {
  test('by its name, its ID and the beginning of its ID', async () => {
    const { id } = await makeContainer(home, 'box');
    for (const reference of ['box', id, id.slice(0, 12), id.slice(0, 3)]) {
      expect(home.containers.find(reference).folder.id).toBe(id);
    }
  });

  test.each(['bo', 'box2', '', '..', '../names/box', 'f'.repeat(64), 'z', 'x'.repeat(300)])(
    'not by %j',
    async (reference) => {
      await makeContainer(home, 'box');
      expect(() => home.containers.find(reference)).toThrow(/no such container/);
    },
  );

  test('by a name that is the beginning of the ID of another container', async () => {
    const other = await makeContainer(home, 'other');
    const named = await makeContainer(home, other.id.slice(0, 4));
    expect(home.containers.find(other.id.slice(0, 4)).folder.id).toBe(named.id);
  });

  test('not by the beginning of several IDs', async () => {
    const ids = ['a', 'b'].map((digit) => `0${digit}${'c'.repeat(62)}`);
    for (const id of ids) home.containers.folder(id).make(containerConfig({}, id));
    expect(() => home.containers.find('0')).toThrow(/several containers/);
    expect(home.containers.find('0a').folder.id).toBe(ids[0]);
  });
});

describe('cleaning up', () => {
  test('removes a container with --rm whose supervisor was killed, which is not listed before either', async () => {
    const folder = await makeContainer(home, 'box', { autoRemove: true });
    const kill = await supervise(folder, 'running');
    expect(Container.list(home)).toHaveLength(1);
    await kill();
    // It was suspended once.
    mkdirSync(join(home.path, 'store-2/holders'), { recursive: true });
    writeFileSync(join(home.path, 'store-2/holders', folder.id), `sha256:${'0'.repeat(64)}\n`);
    expect(await home.images.holders()).toEqual([folder.id]);
    expect(Container.list(home)).toEqual([]);
    await home.removeStale();
    expect(await home.images.holders()).toEqual([]);
    expect(() => home.containers.find('box')).toThrow(/no such container/);
    expect(readdirSync(home.containers.path).sort()).toEqual(['lock', 'names']);
  });

  test('removes a container with --rm whose supervisor was killed before it supervised', async () => {
    const config = containerConfig({ autoRemove: true });
    const folder = home.containers.folder(config.id);
    using lock = folder.make(config, { isSupervised: true });
    expect(Container.list(home)).toMatchObject([{ config, state: { status: 'created' } }]);
    await home.removeStale();
    expect(folder.config()).toBeDefined();
    lock?.[Symbol.dispose]();
    expect(Container.list(home)).toEqual([]);
    await home.removeStale();
    expect(folder.config()).toBeUndefined();
  });

  test.each(['published', 'unpublished', 'published in another runtime folder'])(
    'removes sockets of a killed supervisor, %s, with its container',
    async (kind) => {
      const runtimes = ['runtime', 'other'].map((name) => join(home.path, name));
      const [runtime = '', other = ''] = runtimes;
      const own = new Home(home.path, runtime);
      const folder = await makeContainer(own, 'box');
      const root = openRuntimeFolder(kind.endsWith('another runtime folder') ? other : runtime);
      const sockets = await SocketFolder.make(folder.shortId, root);
      if (kind !== 'unpublished') {
        await sockets.publish();
        folder.writeState({ ...CREATED, sockets: sockets.path });
      }
      await Container.find(own, 'box').remove();
      expect(readdirSync(root)).toEqual(['lock']);
    },
  );

  test('removes a folder that was being made or removed', async () => {
    const folder = await makeContainer(home, 'box');
    const { path } = folder;
    folder.remove(home.runtime);
    writeFileSync(`${path}.removed`, '');
    home.containers.sweep();
    expect(readdirSync(home.containers.path).sort()).toEqual(['lock', 'names']);
  });
});

test('a running container cannot be removed', async () => {
  const folder = await makeContainer(home, 'box');
  const kill = await supervise(folder, 'running');
  await expect(Container.find(home, 'box').remove()).rejects.toMatchObject({ code: 'running' });
  await kill();
  await Container.find(home, 'box').remove();
  expect(Container.list(home)).toEqual([]);
});
