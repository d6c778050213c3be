import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Container } from '../../../../sandbox/containers/container.js';
import type { ContainerFolder } from '../../../../sandbox/home/container-folder.js';
import { bootId, CREATED } from '../../../../sandbox/home/container-record.js';
import { Home } from '../../../../sandbox/home/home.js';
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
      globalThis.lock = folder.lock();
      folder.writeState({ ...JSON.parse(state), supervisorPid: process.pid });
      console.log('up');
      setInterval(() => {}, 1000);`,
    join(programs, 'supervisor.cjs'),
  );
});

afterAll(() => rmSync(programs, { recursive: true }));

beforeEach(() => {
  home = new Home(mkdtempSync('/tmp/tsvm-test-'));
});

afterEach(() => rmSync(home.path, { recursive: true }));

/** A process that supervises the container, and says so in its state. */
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
    '%s is true while the supervisor lives, and no longer',
    async (status) => {
      const folder = await makeContainer(home, 'box');
      const kill = await supervise(folder, status);
      expect(folder.state().status).toBe(status);
      expect(folder.lock()).toBeUndefined();
      await kill();
      expect(folder.state()).toMatchObject({ status: 'exited', exitCode: 255 });
      expect(folder.state().supervisorPid).toBeUndefined();
      using lock = folder.lock();
      expect(lock).toBeDefined();
    },
  );

  test('is read whole while it is written again and again', async () => {
    const folder = await makeContainer(home, 'box');
    for (let count = 0; count < 200; count++) {
      folder.writeState({ ...CREATED, restartCount: count });
      expect(folder.state().restartCount).toBe(count);
    }
    expect(readdirSync(folder.path).sort()).toEqual(['config.json', 'state.json']);
  });

  test('that a host lost as it went down is that of a container that was just made', async () => {
    const folder = await makeContainer(home, 'box');
    writeFileSync(join(folder.path, 'state.json'), '');
    expect(folder.state()).toEqual(CREATED);
  });
});

test('the lock is asked after without being taken, by any number of readers', async () => {
  const folder = await makeContainer(home, 'box');
  expect(folder.isSupervised()).toBe(false);
  using lock = folder.lock();
  expect(lock).toBeDefined();
  for (let count = 0; count < 10; count++) expect(folder.isSupervised()).toBe(true);
  lock![Symbol.dispose]();
  expect(folder.isSupervised()).toBe(false);
});

describe('a container is found', () => {
  test('by its name, its id and the beginning of its id', async () => {
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

  test('by a name that looks like the beginning of the id of another one', async () => {
    const other = await makeContainer(home, 'other');
    const named = await makeContainer(home, other.id.slice(0, 4));
    expect(home.containers.find(other.id.slice(0, 4)).folder.id).toBe(named.id);
  });

  test('not when several ids begin so', async () => {
    const ids = ['a', 'b'].map((digit) => `0${digit}${'c'.repeat(62)}`);
    for (const id of ids) home.containers.folder(id).make(containerConfig({}, id));
    expect(() => home.containers.find('0')).toThrow(/several containers/);
    expect(home.containers.find('0a').folder.id).toBe(ids[0]);
  });
});

describe('what is left behind', () => {
  test('by a killed supervisor of a container with --rm is not listed, and goes', async () => {
    const folder = await makeContainer(home, 'box', { autoRemove: true });
    const kill = await supervise(folder, 'running');
    expect(Container.list(home)).toHaveLength(1);
    await kill();
    expect(Container.list(home)).toEqual([]);
    await home.removeStale();
    expect(() => home.containers.find('box')).toThrow(/no such container/);
    expect(readdirSync(home.containers.path).sort()).toEqual(['lock', 'names']);
  });

  test('of a folder that was being made or removed goes', async () => {
    const folder = await makeContainer(home, 'box');
    const { path } = folder;
    folder.remove();
    writeFileSync(`${path}.removed`, '');
    home.containers.sweep();
    expect(readdirSync(home.containers.path).sort()).toEqual(['lock', 'names']);
  });
});

test('a container that runs is removed only by force', async () => {
  const folder = await makeContainer(home, 'box');
  const kill = await supervise(folder, 'running');
  await expect(Container.find(home, 'box').remove()).rejects.toMatchObject({ code: 'running' });
  await kill();
  await Container.find(home, 'box').remove();
  expect(Container.list(home)).toEqual([]);
});
