// The guest that our machine and QEMU both run: an init of a few lines, and an image's disk in one
// file.
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Extent } from '../../images/index.js';
import { Home } from '../../sandbox/home/home.js';
import { makeCpio } from './cpio.js';
import { BENCH_FOLDER, GUEST_INIT_SOURCE } from './paths.js';

export const GUEST_INITRAMFS = join(BENCH_FOLDER, 'initramfs.cpio');
export const GUEST_DISK = join(BENCH_FOLDER, 'disk.erofs');
/** The start of the guest's line, which it prints when it has read its disk. */
export const GUEST_LINE = 'guest says ';
/** Words of the kernel command line that tell the guest's init to stay after its line. */
export const HOLD_WORDS = '-- hold';

const S_IFDIR = 0o040755;
const S_IFREG = 0o100755;
const S_IFCHR = 0o020600;

function writeDisk(extents: readonly Extent[]): void {
  rmSync(GUEST_DISK, { force: true });
  const target = openSync(GUEST_DISK, 'wx');
  const buffer = Buffer.alloc(2 ** 20);
  let position = 0;
  for (const { path, offset, length } of extents) {
    const source = openSync(path, 'r');
    for (let done = 0; done < length; ) {
      const count = readSync(source, buffer, 0, Math.min(buffer.length, length - done), offset + done);
      // A file may end within its extent: the rest reads as zero.
      if (count === 0) break;
      writeSync(target, buffer, 0, count, position + done);
      done += count;
    }
    closeSync(source);
    position += length;
  }
  execFileSync('truncate', ['-s', String(position), GUEST_DISK]);
  closeSync(target);
}

/** Builds the guest's initial RAM file system, and its disk from `image`. */
export async function prepareGuest(image: string): Promise<void> {
  mkdirSync(BENCH_FOLDER, { recursive: true });
  const init = join(BENCH_FOLDER, 'guest-init');
  execFileSync('musl-gcc', ['-static', '-Os', '-s', '-Wall', '-Werror', '-o', init, GUEST_INIT_SOURCE]);
  const cpio = makeCpio([
    { path: 'dev', mode: S_IFDIR },
    { path: 'dev/console', mode: S_IFCHR, device: { major: 5, minor: 1 } },
    { path: 'image', mode: S_IFDIR },
    { path: 'init', mode: S_IFREG, content: readFileSync(init) },
  ]);
  writeFileSync(GUEST_INITRAMFS, cpio);
  const { disk } = await new Home().images.resolve(image);
  writeDisk(disk);
}
