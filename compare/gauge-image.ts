// The image that all levels get: the caller's, with one more layer that has the gauge. So the gauge
// is a file of the root file system at each level, and no level needs a mount for it.
import { readFileSync } from 'node:fs';
import { Header } from 'tar/header';
import type { Store } from '../images/index.js';
import { builtFile } from '../installation/index.js';
import { imageName } from './leftovers.js';
import { GAUGE } from './level.js';

const BLOCK = 512;

/** The layer: a tar of one file. */
async function* layer(): AsyncIterable<Buffer> {
  const program = readFileSync(builtFile('tsvm-gauge'));
  const header = Buffer.alloc(BLOCK);
  const described = { path: GAUGE.slice(1), mode: 0o755, uid: 0, gid: 0, size: program.length, mtime: new Date(0) };
  new Header({ ...described, type: 'File' }).encode(header);
  yield header;
  yield program;
  // To the end of the block, and two blocks that end the archive.
  yield Buffer.alloc(((BLOCK - (program.length % BLOCK)) % BLOCK) + 2 * BLOCK);
}

/** Disposal removes the image. */
export interface GaugeImage extends AsyncDisposable {
  /** The image's ID. */
  digest: string;
}

/**
 * @param base the ID of the caller's image
 * @throws ImageError
 */
export async function addGauge(images: Store, base: string): Promise<GaugeImage> {
  // The name keeps `tsvm prune` from it.
  const name = imageName();
  const digest = await images.commit(base, layer(), { name, createdBy: `tsvm compare ${name}` });
  return {
    digest,
    async [Symbol.asyncDispose]() {
      await images.remove(name, { force: true });
    },
  };
}
