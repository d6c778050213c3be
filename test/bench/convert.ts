// The conversion of a real image to a disk: 330 MB in four layers of gzip. It is compared with two
// programs that unpack the image to a directory:
// - umoci
// - gzip and tar, which check nothing and ignore the layers' order and whiteouts
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { openStore } from '../../images/index.js';
import { debianImages } from '../fixtures/debian-images.js';
import { type Benchmark, type Measurement, ratio, Samples } from './measurement.js';
import { BENCH_FOLDER } from './paths.js';
import { timeSuccess } from './stopwatch.js';

const TAG = 'nginx';

/** Returns the files of the image's layers, the lowest first. */
function layerFiles(layout: string): string[] {
  const json = (path: string) => JSON.parse(readFileSync(join(layout, path), 'utf8'));
  const blob = (digest: string): string => join('blobs/sha256', digest.slice('sha256:'.length));
  const named = json('index.json').manifests.find(
    (manifest: { annotations: Record<string, string> }) =>
      manifest.annotations['org.opencontainers.image.ref.name'] === TAG,
  );
  return json(blob(named.digest)).layers.map(({ digest }: { digest: string }) => join(layout, blob(digest)));
}

export const convert: Benchmark = {
  name: 'convert',
  title: 'Conversion of a real image (Debian with python3, nodejs and nginx), from an OCI layout on the disk',
  needsKvm: false,
  async measure({ runs }): Promise<Measurement[]> {
    const layout = debianImages();
    const files = layerFiles(layout);
    const samples = new Samples();
    mkdirSync(BENCH_FOLDER, { recursive: true });
    for (let run = 0; run < runs; run++) {
      const work = mkdtempSync(join(BENCH_FOLDER, 'convert-'));
      try {
        const start = performance.now();
        await openStore(join(work, 'home')).resolve(`oci:${layout}:${TAG}`);
        samples.add('tsvm, synced', 'ms', performance.now() - start);
        const unpack = ['-c', 'umoci unpack --image "$0" "$1" && echo done', `${layout}:${TAG}`, join(work, 'umoci')];
        const { exit: umoci } = await timeSuccess('sh', unpack);
        samples.add('umoci unpack', 'ms', umoci);
        mkdirSync(join(work, 'tar'));
        const script = 'for layer; do gzip -dc "$layer" | tar -x -C "$0"; done; echo done';
        const { exit: tar } = await timeSuccess('sh', ['-c', script, join(work, 'tar'), ...files]);
        samples.add('gzip -d | tar -x', 'ms', tar);
      } finally {
        rmSync(work, { recursive: true });
        execFileSync('sync');
      }
    }
    const [tsvm, umoci, tar] = samples.measurements();
    return [...samples.measurements(), ratio('umoci / tsvm', umoci, tsvm), ratio('gzip -d | tar -x / tsvm', tar, tsvm)];
  },
};
