// Functions of the C library: what they return, and the errno of a call that failed.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { errno, libcFunction, loadLibc } from '../../../libc/index.js';

const project = fileURLToPath(new URL('../../..', import.meta.url));

const EBADF = 9;
const EXDEV = 18;

test('a function of the C library returns what it returns in C', () => {
  const getpid = libcFunction<[]>('int getpid()');
  expect(getpid()).toBe(process.pid);
  expect(getpid()).toBe(process.pid);
});

test('errno tells why a call failed', () => {
  const flock = libcFunction<[fd: number, operation: number]>('int flock(int fd, int operation)');
  expect(flock(-1, 1)).toBe(-1);
  expect(errno()).toBe(EBADF);
});

test('errno is the word of the C library itself', () => {
  const { koffi, errno: word } = loadLibc();
  koffi.errno(EXDEV);
  expect(word[0]).toBe(EXDEV);
  word[0] = EBADF;
  expect([koffi.errno(), errno()]).toEqual([EBADF, EBADF]);
});

// A function is bound by its first call, which may be in a machine process whose guest runs.
test('each prototype in the project is one of a function that the C library has', () => {
  const rooms = ['build', 'cli', 'compare', 'images', 'jail', 'libc', 'oci', 'sandbox', 'service', 'vmm'];
  const files = rooms.flatMap((room) =>
    readdirSync(`${project}/${room}`, { recursive: true, encoding: 'utf8' }).map((file) => `${room}/${file}`),
  );
  const code = files.filter((file) => file.endsWith('.ts'));
  const sources = code.map((file) => readFileSync(`${project}/${file}`, 'utf8')).join('\n');
  const prototypes = [...sources.matchAll(/libcFunction(?:<[^(]*>)?\(\s*'([^']+)'/g)].map(([, text = '']) => text);
  // Beside these there is its own declaration alone.
  expect(prototypes.length).toBe([...sources.matchAll(/libcFunction[<(]/g)].length - 1);
  expect(prototypes.length).toBeGreaterThan(60);
  for (const prototype of prototypes) expect(loadLibc().library.func(prototype), prototype).toBeTypeOf('function');
});
