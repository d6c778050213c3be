// The environment of programs in the background keeps their memory small.
import { execFileSync } from 'node:child_process';
import { expect, test, vi } from 'vitest';
import { programEnvironment } from '../../../sandbox/programs.js';

/**
 * Opens a file on each thread of libuv's pool, and prints how many arenas malloc has beside the
 * first: each begins at a multiple of 64 MiB (malloc/arena.c, HEAP_MAX_SIZE).
 */
const COUNT = `
  const { open, readFileSync } = require('node:fs');
  let left = 16;
  const done = () => {
    if (--left > 0) return;
    const starts = [...readFileSync('/proc/self/maps', 'latin1').matchAll(/^([0-9a-f]+)-[0-9a-f]+ rw-p .* 0 *$/gm)];
    console.log(starts.filter(([, start]) => BigInt('0x' + start) % (64n << 20n) === 0n).length);
  };
  for (let each = left; each > 0; each--) open('/dev/null', done);`;

const arenas = (env: NodeJS.ProcessEnv) =>
  Number(execFileSync(process.execPath, ['-e', COUNT], { encoding: 'utf8', env }));

test('all threads of a program in the background share one arena of malloc', () => {
  expect(arenas({ ...process.env, MALLOC_ARENA_MAX: undefined })).toBeGreaterThan(0);
  expect(arenas(programEnvironment())).toBe(0);
});

test('a program in the background parses no further certificates', () => {
  vi.stubEnv('NODE_EXTRA_CA_CERTS', '/nonexistent');
  expect(programEnvironment().NODE_EXTRA_CA_CERTS).toBeUndefined();
  vi.unstubAllEnvs();
});
