// The disk space of ten images that share a base, in our store and in podman's.
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { plainLayer, writeLayout } from '../fixtures/oci-layout.js';
import { Random } from '../fixtures/random.js';
import { type TarMember, tar } from '../fixtures/tar-writer.js';
import { type Benchmark, type Measurement, measurement, ratio } from './measurement.js';
import { CLI } from './paths.js';

const IMAGES = 10;
/** Number of files in each image's own layer, and the bound on their size in bytes. */
const FILES = 200;
const MAX_FILE = 40_000;
const MIB = 2 ** 20;

/** Returns the layers of an image in the store, as tar archives. */
function layersOf(image: string, folder: string): Buffer[] {
  mkdirSync(folder);
  const archive = join(folder, 'archive.tar');
  execFileSync(CLI, ['save', '-o', archive, image]);
  execFileSync('tar', ['xf', archive, '-C', folder]);
  const [{ Layers }] = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
  return Layers.map((name: string) => readFileSync(join(folder, name)));
}

/** Returns the layer with an image's own files. Half of them are text, half random bytes. */
function ownLayer(number: number): Buffer {
  const random = new Random(number);
  const members = Array.from({ length: FILES }, (_, file): TarMember => {
    const size = random.below(MAX_FILE);
    return {
      path: `srv/app-${number}/${file}`,
      data: file % 2 ? random.bytes(size) : 'line of text\n'.repeat(size / 13),
    };
  });
  return tar(members);
}

function bytesIn(folder: string): number {
  return Number.parseInt(execFileSync('du', ['-s', '--block-size=1', folder], { encoding: 'utf8' }), 10) / MIB;
}

/** Returns the two stores, each with a function that loads an image into it. */
function stores(folder: string): { name: string; root: string; load: (layout: string, tag: string) => void }[] {
  const ours = join(folder, 'tsvm');
  const podman = join(folder, 'podman');
  const options = ['--root', podman, '--runroot', join(folder, 'run'), '--storage-driver', 'overlay'];
  const env = { ...process.env, TSVM_HOME: ours };
  return [
    { name: 'tsvm', root: ours, load: (layout) => execFileSync(CLI, ['load', '-q', '-i', layout], { env }) },
    {
      name: 'podman',
      root: podman,
      load: (layout, tag) =>
        execFileSync('podman', [...options, 'pull', '-q', `oci:${layout}:${tag}`], { stdio: 'pipe' }),
    },
  ];
}

export const storeSize: Benchmark = {
  name: 'store-size',
  title: `Disk used by ${IMAGES} images that share a base, beside podman's store (overlay)`,
  needsKvm: false,
  async measure({ image }) {
    // Podman names an image after the layout's path, which must not contain capitals.
    const folder = join(tmpdir(), `tsvm-bench-${randomBytes(6).toString('hex')}`);
    mkdirSync(folder);
    const both = stores(folder);
    const measurements: Measurement[] = [];
    try {
      const base = layersOf(image, join(folder, 'base'));
      const layout = join(folder, 'layout');
      for (let number = 1; number <= IMAGES; number++) {
        const tag = `bench/app:${number}`;
        writeLayout(layout, [...base, ownLayer(number)], { tag, compress: plainLayer });
        for (const { load } of both) load(layout, tag);
        if (number > 1 && number < IMAGES) continue;
        const sizes = both.map(({ name, root }) => {
          return measurement(`${name}, ${number} image${number > 1 ? 's' : ''}`, 'MiB', [bytesIn(root)]);
        });
        measurements.push(...sizes, ratio(`  tsvm / podman, ${number}`, sizes[0], sizes[1]));
      }
      return measurements;
    } finally {
      // Podman leaves a mount behind.
      spawnSync('umount', [join(folder, 'podman/overlay')]);
      rmSync(folder, { recursive: true });
    }
  },
};
