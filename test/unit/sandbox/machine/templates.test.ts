// The store of templates: one is there whole or not at all; its name says what it depends on; what is
// damaged is found; the least recently used go first.
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type TemplateShape, TemplateStore, templateName } from '../../../../sandbox/machine/templates.js';
import { SAVED_MEMORY, SAVED_STATE } from '../../../../vmm/machine.js';

const MEMORY = 8 * 2 ** 20;
const SHAPE: TemplateShape = { cpus: 1, memory: MEMORY, hasLayer: true, hasNetwork: true, hasShares: false };
const NAME = '0123456789abcdef0123456789abcdef';
const OTHER = 'f'.repeat(32);

let folder: string;
let store: TemplateStore;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-templates-'));
  store = new TemplateStore(join(folder, 'templates'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Writes what a machine process would write, and keeps it. */
async function make(name = NAME, content = 'memory'): Promise<void> {
  using unfinished = store.begin(name)!;
  unfinished.emptyFolder();
  using files = unfinished.files(MEMORY);
  for (const { names, descriptors } of files.all) {
    const fd = (name: string) => descriptors[names.indexOf(name)]!;
    writeSync(fd(SAVED_MEMORY), content, 2 * 2 ** 20);
    writeSync(fd(SAVED_STATE), '{}');
  }
  await unfinished.keep(SHAPE);
}

/** The memory of a template, from the descriptor that a machine would get. */
async function read(name = NAME): Promise<string | undefined> {
  using files = await store.open(name);
  if (files === undefined) return undefined;
  const { names, descriptors } = files.all[0]!;
  const text = Buffer.alloc(6);
  readSync(descriptors[names.indexOf(SAVED_MEMORY)]!, text, 0, 6, 2 * 2 ** 20);
  return text.toString();
}

const files = () => readdirSync(store.path).sort();

test('a template is there once it is kept, for its owner alone', async () => {
  expect(await read()).toBeUndefined();
  await make();
  expect(await read()).toBe('memory');
  expect(files()).toEqual([NAME, 'lock']);
  expect(readdirSync(join(store.path, NAME)).sort()).toEqual(['manifest.json', 'memory', 'state.json']);
  for (const path of [store.path, join(store.path, NAME)]) expect(statSync(path).mode & 0o777).toBe(0o700);
  expect(statSync(join(store.path, NAME, 'memory')).mode & 0o777).toBe(0o600);
  expect(store.list()).toMatchObject([{ name: NAME, shape: SHAPE }]);
});

test('a folder that cannot be written to, or made, has no place for a template', async () => {
  expect(store.isWritable).toBe(true);
  await make();
  expect(store.isWritable).toBe(true);
  // Root may write to a folder without the permission, but not to those of sysctls.
  expect(new TemplateStore('/proc/sys/kernel').isWritable).toBe(false);
  expect(new TemplateStore('/proc/sys/kernel/home/templates').isWritable).toBe(false);
  expect(new TemplateStore(join(store.path, NAME, 'memory/templates')).isWritable).toBe(false);
});

test('one template is made at a time, and replaces one of its name', async () => {
  await make();
  {
    using _unfinished = store.begin(NAME);
    expect(store.begin(OTHER)).toBeUndefined();
    expect(await read()).toBe('memory');
  }
  await make(NAME, 'others');
  expect(await read()).toBe('others');
});

test('one that was given up is not tried again for a day, or until it is made', async () => {
  await make(OTHER);
  expect(store.wasGivenUp(NAME)).toBe(false);
  store.giveUp(NAME, 'the disk is full');
  expect(store.wasGivenUp(NAME)).toBe(true);
  expect(store.wasGivenUp(OTHER)).toBe(false);
  expect(store.names()).toEqual([OTHER]);
  const mark = join(store.path, `${NAME}.failed`);
  expect(readFileSync(mark, 'utf8')).toBe('the disk is full\n');
  const old = new Date(Date.now() - 25 * 3600 * 1000);
  utimesSync(mark, old, old);
  expect(store.wasGivenUp(NAME)).toBe(false);
  await make(OTHER);
  expect(existsSync(mark)).toBe(false);
  store.giveUp(NAME, 'it does not fit');
  await make();
  expect(store.wasGivenUp(NAME)).toBe(false);
});

test('whether a template is being made is seen', () => {
  expect(store.isBusy).toBe(false);
  {
    using _unfinished = store.begin(NAME);
    expect(store.isBusy).toBe(true);
  }
  expect(store.isBusy).toBe(false);
});

test('what is not kept is gone, and what killed processes left is removed by the next', async () => {
  {
    using unfinished = store.begin(NAME)!;
    unfinished.files(MEMORY)[Symbol.dispose]();
  }
  expect(files()).toEqual(['lock']);
  mkdirSync(join(store.path, `${NAME}.new`));
  mkdirSync(join(store.path, `${OTHER}.1.removed`));
  writeFileSync(join(store.path, `${NAME}.new`, 'memory'), 'half');
  expect(store.list()).toEqual([]);
  expect(await read()).toBeUndefined();
  await make(OTHER);
  expect(files()).toEqual([OTHER, 'lock']);
});

test('a machine that has the files keeps them when the template is removed', async () => {
  await make();
  using opened = (await store.open(NAME))!;
  expect(store.remove(NAME)).toBe(true);
  expect(store.remove(NAME)).toBe(false);
  expect(files()).toEqual(['lock']);
  const { names, descriptors } = opened.all[0]!;
  const text = Buffer.alloc(6);
  readSync(descriptors[names.indexOf(SAVED_MEMORY)]!, text, 0, 6, 2 * 2 ** 20);
  expect(text.toString()).toBe('memory');
});

test('no machine can write to a template', async () => {
  await make();
  using opened = (await store.open(NAME))!;
  for (const fd of opened.all[0]!.descriptors) expect(() => writeSync(fd, 'x')).toThrow('EBADF');
});

describe('damaged is', () => {
  const damages: [string, (path: string) => void, RegExp][] = [
    ['a missing manifest', (path) => rmSync(join(path, 'manifest.json')), /manifest\.json/],
    ['a manifest cut short', (path) => truncateSync(join(path, 'manifest.json'), 50), /has no whole manifest\.json/],
    ['memory cut short', (path) => truncateSync(join(path, 'memory'), MEMORY - 4096), /its memory is not what/],
    ['a byte of memory that differs', (path) => overwrite(join(path, 'memory'), 2 * 2 ** 20), /its memory is not what/],
    ['a state that differs', (path) => overwrite(join(path, 'state.json'), 0), /its state\.json is not what/],
    ['missing memory', (path) => rmSync(join(path, 'memory')), /ENOENT/],
  ];

  test.each(damages)('%s', async (_, damage, message) => {
    await make();
    damage(join(store.path, NAME));
    await expect(store.open(NAME)).rejects.toMatchObject({ code: 'snapshot', message: expect.stringMatching(message) });
  });

  function overwrite(path: string, at: number): void {
    const fd = openSync(path, 'r+');
    writeSync(fd, 'X', at);
    closeSync(fd);
  }
});

test('a copy of a template is read once more, and is as good', async () => {
  await make();
  utimesSync(join(store.path, NAME, 'memory'), 1, 1);
  expect(await read()).toBe('memory');
});

test('the least recently used go until the rest fits', async () => {
  const size = async (name: string) => {
    await make(name);
    return store.list().find((each) => each.name === name)!.size;
  };
  const names = ['a', 'b', 'c'].map((digit) => digit.repeat(32));
  const sizes: number[] = [];
  for (const name of names) sizes.push(await size(name));
  for (const [index, name] of names.entries()) {
    utimesSync(join(store.path, name, 'manifest.json'), 1000 + index, 1000 + index);
  }
  await read(names[0]);
  expect(store.list().map(({ name }) => name)).toEqual([names[0], names[2], names[1]]);
  expect(store.prune(sizes[0]! + sizes[2]!).map(({ name }) => name)).toEqual([names[1]]);
  expect(store.prune(sizes[0]! + sizes[2]!)).toEqual([]);
  expect(existsSync(join(store.path, names[1]!))).toBe(false);
  // A damaged one takes room, too.
  rmSync(join(store.path, names[2]!, 'manifest.json'));
  expect(store.prune(2 ** 30)).toEqual([]);
  expect(store.names()).toEqual([names[0]]);
});

test('a name is found by its first digits', async () => {
  await make(NAME);
  await make(OTHER);
  expect(store.find('01')).toBe(NAME);
  expect(() => store.find('2')).toThrow('no such template: 2');
  expect(() => store.find('')).toThrow('no such template');
  await make(`01${'1'.repeat(30)}`);
  expect(() => store.find('01')).toThrow('several templates begin with 01');
});

test('another kernel, shape or build has another name', () => {
  const kernel = join(folder, 'kernel');
  const initramfs = join(folder, 'initramfs');
  for (const path of [kernel, initramfs]) writeFileSync(path, 'one');
  const name = (change: Partial<TemplateShape> = {}) => templateName({ kernel, initramfs }, { ...SHAPE, ...change });
  const first = name();
  expect(first).toMatch(/^[0-9a-f]{32}$/);
  expect(name()).toBe(first);
  const others = [
    name({ cpus: 2 }),
    name({ memory: 2 * MEMORY }),
    name({ hasLayer: false }),
    name({ hasNetwork: false }),
    name({ hasShares: true }),
    templateName({ kernel, initramfs, modules: kernel }, SHAPE),
  ];
  for (const path of [kernel, initramfs]) {
    writeFileSync(path, 'another');
    others.push(name());
  }
  expect(new Set([first, ...others]).size).toBe(others.length + 1);
});
