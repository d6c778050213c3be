// A distribution's kernel with a folder of modules: the order of the modules, and one clear line for
// each fault of the two.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findBootKernel } from '../../../../kernels/index.js';
import { bzImageFile, elfFile, moduleFile } from '../../../fixtures/kernel-files.js';

const RELEASE = '6.1.0-1-test';
const NEEDED = ['virtio_mmio', 'virtio_blk', 'vmw_vsock_virtio_transport', 'erofs', 'ext4', 'overlay'];

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-modules-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(name: string, bytes: Uint8Array | string): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
  return path;
}

function addModule(name: string, depends = '', release = RELEASE): void {
  write(`modules/kernel/${name}.ko`, moduleFile({ name, depends, vermagic: `${release} SMP` }));
}

/** A bzImage that says its release, and has no payload. */
function bzImage(): string {
  return write('vmlinuz', bzImageFile(RELEASE));
}

/** A kernel of User-Mode Linux: a program, with its loader and its banner. */
function program({ section = '.interp', banner = `Linux version ${RELEASE} (builder@host) #1` } = {}): string {
  return write('linux.uml', elfFile({ [section]: `/lib64/ld-linux-x86-64.so.2\0${banner}\0` }));
}

const find = (kernel: string) =>
  findBootKernel({ kernel, kernelModules: join(folder, 'modules') }, join(folder, 'cache'));

/** Names of the files in an archive. */
const names = (archive: string) =>
  [...readFileSync(archive, 'latin1').matchAll(/modules\/(\d+)-(\w+)\.ko/g)].map(([, , name]) => name);

test('modules come after those that they depend on, and what is built in is left out', async () => {
  for (const name of NEEDED.filter((each) => each !== 'ext4'))
    addModule(name, name === 'virtio_blk' ? 'virtio-ring' : '');
  addModule('virtio-ring', 'virtio');
  addModule('virtio');
  write('modules/modules.builtin', 'kernel/fs/ext4/ext4.ko\n');
  const found = await find(bzImage());
  expect(names(found!.modules!)).toEqual([
    'virtio_mmio',
    'virtio',
    'virtio_ring',
    'virtio_blk',
    'vmw_vsock_virtio_transport',
    'erofs',
    'overlay',
  ]);
});

test('compressed modules are decompressed, and the result is made once', async () => {
  for (const name of NEEDED) {
    write(`modules/${name}.ko.gz`, gzipSync(moduleFile({ name, vermagic: `${RELEASE} SMP` })));
  }
  const kernel = bzImage();
  const found = await find(kernel);
  expect(readFileSync(found!.modules!, 'latin1')).toContain(`vermagic=${RELEASE} SMP`);
  expect(await find(kernel)).toEqual(found);
});

test('User-Mode Linux gets its own transport, IPv6, and a file that any user may execute', async () => {
  for (const name of NEEDED.slice(1)) addModule(name);
  addModule('virtio_uml');
  addModule('ipv6', 'crc-ccitt');
  addModule('crc-ccitt');
  const found = await find(program());
  expect(names(found!.modules!)).toEqual(['virtio_uml', ...NEEDED.slice(1), 'crc_ccitt', 'ipv6']);
  expect(statSync(found!.path).mode & 0o777).toBe(0o755);
});

test.each([
  ['no loader', { section: '.text' }],
  ['no banner', { banner: 'Linux' }],
  ['half a banner', { banner: 'Linux version 6.1' }],
])('an ELF file with %s is no kernel of User-Mode Linux', async (_, parts) => {
  for (const name of NEEDED) addModule(name);
  await expect(find(program(parts))).rejects.toThrow(/linux\.uml: neither a bzImage nor User-Mode Linux, which a/);
});

test('modules of another release are refused', async () => {
  for (const name of NEEDED) addModule(name, '', '6.1.0-2-test');
  await expect(find(bzImage())).rejects.toThrow(/are for 6\.1\.0-2-test, not for the kernel's 6\.1\.0-1-test$/);
});

test('a file that is no kernel is refused', async () => {
  for (const name of NEEDED) addModule(name);
  await expect(find(write('text', 'hello'))).rejects.toThrow(
    /text: neither a bzImage nor User-Mode Linux, which a kernel with modules must be$/,
  );
  await expect(find(join(folder, 'none'))).rejects.toThrow(/none: no such file$/);
});

test('a missing module is named', async () => {
  for (const name of NEEDED.slice(1)) addModule(name);
  await expect(find(bzImage())).rejects.toThrow(/: no module virtio_mmio, which a container needs$/);
  addModule('virtio_mmio', 'virtio');
  await expect(find(bzImage())).rejects.toThrow(/: no module virtio, which virtio_mmio needs$/);
});

test('a file that is no module, an empty folder and no folder are refused', async () => {
  await expect(find(bzImage())).rejects.toThrow(/modules: no such folder$/);
  mkdirSync(join(folder, 'modules'));
  await expect(find(bzImage())).rejects.toThrow(/: no modules, name a folder such as/);
  for (const name of NEEDED) addModule(name);
  write('modules/kernel/virtio_mmio.ko', 'text');
  await expect(find(bzImage())).rejects.toThrow(/virtio_mmio\.ko is not a kernel module$/);
});

test('modules need the path of their kernel', async () => {
  const modules = { kernelModules: folder };
  await expect(findBootKernel(modules)).rejects.toThrow(/need the path of that kernel/);
  await expect(findBootKernel({ ...modules, kernel: 'debian' })).rejects.toThrow(/need the path of that kernel/);
});
