// The image that all levels get: the caller's, with one more layer that has the gauge, and a place
// for a folder of the host. So the gauge is a file of the root file system at each level, and no level
// needs a mount for it.
import { readFileSync } from 'node:fs';
import { Header } from 'tar/header';
import type { Store } from '../images/index.js';
import { builtFile } from '../installation/index.js';
import { imageName } from './leftovers.js';
import { FOLDER, GAUGE } from './level.js';

const BLOCK = 512;

function header(described: { path: string; size: number; type: 'File' | 'Directory' }): Buffer {
  const block = Buffer.alloc(BLOCK);
  new Header({ mode: 0o755, uid: 0, gid: 0, mtime: new Date(0), ...described }).encode(block);
  return block;
}

/** The layer: a tar of one folder and one file. */
async function* layer(): AsyncIterable<Buffer> {
  const program = readFileSync(builtFile('tsvm-gauge'));
  yield header({ path: `${FOLDER.slice(1)}/`, size: 0, type: 'Directory' });
  yield header({ path: GAUGE.slice(1), size: program.length, type: 'File' });
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
 * @throws ImageError; the reason of `signal`
 */
export async function addGauge(images: Store, base: string, signal: AbortSignal): Promise<GaugeImage> {
  // The name keeps `tsvm prune` from it.
  const name = imageName();
  const digest = await images.commit(base, layer(), { name, createdBy: `tsvm compare ${name}`, signal });
  return {
    digest,
    async [Symbol.asyncDispose]() {
      await images.remove(name, { force: true });
    },
  };
}
