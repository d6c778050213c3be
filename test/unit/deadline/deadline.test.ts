// A time ends whatever Node.js collects meanwhile, and no file of the project makes one that may not.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { within } from '../../../deadline/index.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Resolves to the name of a signal's reason once it is aborted. Nothing else refers to the signal. */
function reasonOf(make: () => AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    make().addEventListener('abort', ({ target }) => resolve((target as AbortSignal).reason.name));
  });
}

test('a time ends, though memory is collected meanwhile', async () => {
  const { signal } = new AbortController();
  const ended = reasonOf(() => within(300, signal));
  let isOver = false;
  ended.then(() => {
    isOver = true;
  });
  for (let turn = 0; turn < 5; turn++) {
    await sleep(10);
    collect();
  }
  while (!isOver) await sleep(10);
  expect(await ended).toBe('TimeoutError');
});

test('a part of a millisecond is no error', async () => {
  expect(await reasonOf(() => within(100 / 7))).toBe('TimeoutError');
});

test('it ends as its signals do, one that is aborted already too', async () => {
  const controller = new AbortController();
  const ended = reasonOf(() => within(60_000, controller.signal));
  controller.abort();
  expect(await ended).toBe('AbortError');
  expect(within(60_000, controller.signal).aborted).toBe(true);
});

test('no other file makes a signal of others and of a time', () => {
  const project = fileURLToPath(new URL('../../..', import.meta.url));
  const others = ['node_modules', 'dist', 'test', 'docs', 'deadline'];
  const files = readdirSync(project, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.') && !others.includes(entry.name))
    .flatMap(({ name }) => readdirSync(join(project, name), { recursive: true }).map((path) => `${name}/${path}`))
    .filter((path) => path.endsWith('.ts'));
  expect(files.length).toBeGreaterThan(300);
  const both = files.filter((path) => {
    const code = readFileSync(join(project, path), 'utf8');
    return code.includes('AbortSignal.timeout(') && code.includes('AbortSignal.any(');
  });
  expect(both).toEqual([]);
});
