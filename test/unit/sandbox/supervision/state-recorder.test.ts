// What the end of a supervision leaves on the disk.
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Container } from '../../../../sandbox/containers/container.js';
import { bootId } from '../../../../sandbox/home/container-record.js';
import { Home } from '../../../../sandbox/home/home.js';
import { SILENT } from '../../../../sandbox/log.js';
import { StateRecorder } from '../../../../sandbox/supervision/state-recorder.js';
import { makeContainer } from '../home/containers.js';

let folder: string;
let home: Home;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  mkdirSync(join(folder, 'runtime'), { mode: 0o700 });
  home = new Home(join(folder, 'home'), join(folder, 'runtime'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Supervises a container with `--rm` to its end. @param cgroup the machine's, once it has ended */
async function supervised(cgroup: string | undefined) {
  const stored = await makeContainer(home, 'box', { autoRemove: true });
  using _lock = await stored.lock();
  const recorder = new StateRecorder(home, stored, stored.config()!, { log: SILENT });
  recorder.write({ status: 'running', supervisorPid: process.pid, bootId: bootId(), cgroup: join(folder, 'cgroup') });
  recorder.write({ cgroup });
  recorder.ended({ exitCode: 0 });
  await recorder.close();
  return stored;
}

test('a container with --rm is removed at its end', async () => {
  const stored = await supervised(undefined);
  expect(existsSync(stored.path)).toBe(false);
});

test('one whose cgroup could not be removed is removed with that by a later command, and is not listed before', async () => {
  const stored = await supervised(join(folder, 'cgroup'));
  expect(existsSync(stored.path)).toBe(true);
  expect(Container.list(home)).toEqual([]);
  await home.removeStale();
  expect(existsSync(stored.path)).toBe(false);
  expect(() => home.containers.find('box')).toThrow(/no such container/);
});
