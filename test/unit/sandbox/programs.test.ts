// The environment of programs in the background keeps their memory small.
import { execFileSync } from 'node:child_process';
import { expect, test, vi } from 'vitest';
import { programEnvironment } from '../../../sandbox/programs.js';

/**
 * Opens a file on each thread of libuv's pool, and prints how many arenas malloc has beside the
 * first. Each has 64 MiB at a multiple of that, of which the first part can be written to
 * (malloc/arena.c, HEAP_MAX_SIZE). V8 maps at such places too, but less.
 */
const COUNT = `
  const { open, readFileSync } = require('node:fs');
  const SIZE = 64n << 20n;
  let left = 16;
  const done = () => {
    if (--left > 0) return;
    const areas = [...readFileSync('/proc/self/maps', 'latin1').matchAll(/^([0-9a-f]+)-([0-9a-f]+) (....) .* 0 *$/gm)]
      .map(([, start, end, access]) => ({ start: BigInt('0x' + start), end: BigInt('0x' + end), access }));
    const isArena = ({ start, end, access }, at) => {
      const next = areas[at + 1];
      return start % SIZE === 0n && access === 'rw-p' && next?.access === '---p' && next.start === end && next.end >= start + SIZE;
    };
    console.log(areas.filter(isArena).length);
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
