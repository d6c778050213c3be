// Proves that a kernel of the package is unpacked once, as a whole, and only if it is what the
// package was made with.
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { directoryName, kernelHash } from '../../../kernels/cache.js';
import { availableKernel, KernelError, kernelPath, packedKernels } from '../../../kernels/index.js';
import { bundleProgram } from '../sandbox/home/bundle.js';

let folder: string;
let cache: string;
let packed: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kernels-'));
  cache = join(folder, 'deep/cache');
  packed = join(folder, 'packed');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const KERNEL = Buffer.alloc(5_000_000, 'a kernel ');
const CONFIG = Buffer.from('CONFIG_X=y\n');
const sha256 = (data: Buffer) => createHash('sha256').update(data).digest('hex');

/** Writes what package.mjs writes. */
function pack(version: string, { hash = kernelHash('guest'), stored = brotliCompressSync(KERNEL) } = {}): string {
  const name = directoryName('guest', version, hash);
  mkdirSync(join(packed, name), { recursive: true });
  writeFileSync(join(packed, name, 'config'), CONFIG);
  writeFileSync(join(packed, name, 'vmlinux.br'), stored);
  const files = [
    { name: 'config', size: CONFIG.length, sha256: sha256(CONFIG), compressed: false },
    { name: 'vmlinux', size: KERNEL.length, sha256: sha256(KERNEL), compressed: true },
  ];
  const manifest = { source: `Linux ${version}`, compiler: 'gcc', fragments: {}, files };
  writeFileSync(join(packed, name, 'manifest.json'), JSON.stringify(manifest));
  return name;
}

/** Puts a kernel into the cache, as a build does. */
function build(version: string): string {
  const directory = join(cache, directoryName('guest', version, kernelHash('guest')));
  mkdirSync(directory, { recursive: true });
  for (const file of ['config', 'bzImage', 'vmlinux']) writeFileSync(join(directory, file), 'built');
  return join(directory, 'vmlinux');
}

describe('kernelPath', () => {
  it('unpacks the kernel when it is first asked for, and never again', () => {
    const name = pack('6.1.9-1');
    expect(availableKernel('guest', cache, packed)).toMatchObject({ isUnpacked: false, packed: { compiler: 'gcc' } });
    const path = kernelPath('guest', cache, packed) ?? '';
    expect(path).toBe(join(cache, name, 'vmlinux'));
    expect(readFileSync(path).equals(KERNEL)).toBe(true);
    expect(readFileSync(join(cache, name, 'config')).equals(CONFIG)).toBe(true);
    expect(readdirSync(cache)).toEqual([name]);
    const { ino } = statSync(path);
    expect(kernelPath('guest', cache, packed)).toBe(path);
    expect(statSync(path).ino).toBe(ino);
    expect(availableKernel('guest', cache, packed)).toMatchObject({ isUnpacked: true });
  });

  it('prefers the newer source, of the package or built here', () => {
    const name = pack('6.1.10-1');
    build('6.1.9-1');
    expect(kernelPath('guest', cache, packed)).toBe(join(cache, name, 'vmlinux'));
    const newest = build('6.1.11-1');
    expect(kernelPath('guest', cache, packed)).toBe(newest);
  });

  it('takes what was built here from the same source', () => {
    pack('6.1.9-1');
    const path = build('6.1.9-1');
    expect(kernelPath('guest', cache, packed)).toBe(path);
    expect(readFileSync(path, 'utf8')).toBe('built');
  });

  it('takes no kernel of other fragments', () => {
    pack('6.1.9-1', { hash: '0123456789abcdef' });
    expect(kernelPath('guest', cache, packed)).toBeUndefined();
    expect(packedKernels(packed)).toMatchObject([{ name: 'guest', version: '6.1.9-1', current: false }]);
  });

  it('removes what a killed process left in the cache', async () => {
    const name = pack('6.1.9-1');
    const child = spawn('true');
    await once(child, 'exit');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
    mkdirSync(join(cache, `.build-${boot}-${child.pid}-89abcdef/source`), { recursive: true });
    mkdirSync(join(cache, name));
    writeFileSync(join(cache, name, 'config'), CONFIG);
    expect(readFileSync(kernelPath('guest', cache, packed) ?? '').equals(KERNEL)).toBe(true);
    expect(readdirSync(cache)).toEqual([name]);
  });

  const compressed = brotliCompressSync(KERNEL);
  const other = Buffer.from(KERNEL);
  other[4_000_000] = 0;
  it.each([
    ['cut short', compressed.subarray(0, -9)],
    ['empty', Buffer.alloc(0)],
    ['no Brotli data', Buffer.alloc(5000, 0xff)],
    ['another kernel', brotliCompressSync(other)],
    ['longer than it says', brotliCompressSync(Buffer.alloc(KERNEL.length + 1))],
    ['far longer than it says', brotliCompressSync(Buffer.alloc(300_000_000))],
  ])('refuses a kernel that is %s, and leaves nothing', (_, stored) => {
    pack('6.1.9-1', { stored });
    expect(() => kernelPath('guest', cache, packed)).toThrow(
      new KernelError('the guest kernel in the package is damaged: install tsvm again'),
    );
    expect(readdirSync(cache)).toEqual([]);
  });

  it('says in one line that the cache cannot be written', () => {
    pack('6.1.9-1');
    writeFileSync(join(folder, 'deep'), 'a file');
    expect(() => kernelPath('guest', cache, packed)).toThrow(
      /^cannot write to the cache of kernels: ENOTDIR[^\n]+ \(TSVM_KERNEL_CACHE names another folder\)$/,
    );
  });

  it('serves starts at the same time: each finds the whole kernel', async () => {
    const name = pack('6.1.9-1');
    // As installed: the bundles lie in dist/, and the fragments beside it.
    const program = join(folder, 'dist/start.cjs');
    cpSync(fileURLToPath(new URL('../../../kernels', import.meta.url)), join(folder, 'kernels'), { recursive: true });
    const env = bundleProgram(
      `import { readFileSync } from 'node:fs';
       import { createHash } from 'node:crypto';
       import { kernelPath } from './kernels/index.js';
       process.stdout.write('ready\\n');
       readFileSync(0);
       const path = kernelPath('guest', ...JSON.parse(process.argv[2]));
       process.stdout.write(createHash('sha256').update(readFileSync(path)).digest('hex'));`,
      program,
    );
    const starts: ChildProcess[] = Array.from({ length: 6 }, () =>
      spawn(process.execPath, [program, JSON.stringify([cache, packed])], { env, stdio: ['pipe', 'pipe', 'inherit'] }),
    );
    await Promise.all(starts.map((start) => once(start.stdout!, 'readable')));
    const said = starts.map((start) => text(start.stdout!));
    for (const start of starts) start.stdin!.end();
    expect(await Promise.all(said)).toEqual(starts.map(() => `ready\n${sha256(KERNEL)}`));
    expect(readdirSync(cache)).toEqual([name]);
  });
});
