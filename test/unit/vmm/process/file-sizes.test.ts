// A machine process that a guest has taken over makes no file larger than its machine needs.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { DiskSpec, MachineSpec, ShareSpec } from '../../../../vmm/machine.js';
import { largestFile } from '../../../../vmm/process/file-sizes.js';

const MIB = 2 ** 20;
/** Of the state of a saved machine. */
const STATE = 256 * MIB;

const disk = (readOnly: boolean, ...extents: [offset: number, length: number][]): DiskSpec => ({
  id: 'disk',
  readOnly,
  extents: extents.map(([offset, length]) => ({ path: '/disk', offset, length })),
});
const machine = (memory: number, disks: DiskSpec[], shares?: ShareSpec[]) =>
  ({ memory, disks, ...(shares === undefined ? {} : { shares }) }) as MachineSpec;

test.each<[string, MachineSpec, number | undefined]>([
  ['neither disks nor shares', machine(64 * MIB, []), STATE],
  ['much memory', machine(4096 * MIB, []), 4096 * MIB],
  ['a disk', machine(64 * MIB, [disk(true, [0, 9000 * MIB]), disk(false, [0, 512 * MIB])]), 512 * MIB],
  ['a disk of two pieces', machine(64 * MIB, [disk(false, [0, MIB], [700 * MIB, 100 * MIB])]), 800 * MIB],
  ['a read-only share', machine(64 * MIB, [], [{ path: '/a', readOnly: true }]), STATE],
  ['a share that is written to', machine(64 * MIB, [], [{ path: '/a', readOnly: false }]), undefined],
])('a machine with %s', (_, spec, expected) => {
  expect(largestFile(spec)).toBe(expected);
});

let folder: string;
beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-file-sizes-');
});
afterAll(() => rmSync(folder, { recursive: true }));

test('a write beyond it fails, also by a file that was open before, and the process lives', async () => {
  const source = fileURLToPath(new URL('../../../../vmm/process/file-sizes.ts', import.meta.url));
  const script = `
    import { ftruncateSync, openSync, writeSync } from 'node:fs';
    import { limitFileSizes } from ${JSON.stringify(source)};
    const fd = openSync(process.argv[2], 'r+');
    const attempt = (act) => { try { act(); return 'done'; } catch (error) { return error.code; } };
    limitFileSizes({ memory: 0, disks: [] });
    console.log(JSON.stringify([
      attempt(() => writeSync(fd, 'x', ${STATE - 1})),
      attempt(() => writeSync(fd, 'x', ${STATE})),
      attempt(() => ftruncateSync(fd, ${STATE + 1})),
    ]));`;
  const program = join(folder, 'program.mjs');
  await build({
    stdin: { contents: script, resolveDir: folder, loader: 'js' },
    ...({ bundle: true, format: 'esm', platform: 'node', target: 'node20', external: ['koffi'] } as const),
    outfile: program,
  });
  const disk = join(folder, 'disk');
  writeFileSync(disk, '');
  const modules = fileURLToPath(new URL('../../../../node_modules', import.meta.url));
  execFileSync('ln', ['-s', modules, join(folder, 'node_modules')]);
  const said = execFileSync(process.execPath, [program, disk], { encoding: 'utf8' });
  expect(JSON.parse(said)).toEqual(['done', 'EFBIG', 'EFBIG']);
  expect(statSync(disk).size).toBe(STATE);
});
