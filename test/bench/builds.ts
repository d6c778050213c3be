// Builds beside buildah's, and a push beside skopeo's, without a machine: a build whose steps are all
// cached, a context of 100,000 files of which one has changed, a COPY of 1 GB, a push of 500 MB.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { plainLayer, writeLayout } from '../fixtures/oci-layout.js';
import { Random } from '../fixtures/random.js';
import { startRegistry } from '../fixtures/registry.js';
import { tar } from '../fixtures/tar-writer.js';
import { buildah, timed, tsvm } from './builders.js';
import { type Benchmark, type Measurement, ratio, Samples } from './measurement.js';
import { CLI } from './paths.js';

const FILES = 100_000;
const FILES_IN_FOLDER = 1000;
const COPIED_BYTES = 1e9;
const LAYERS = 5;
const PUSHED_BYTES = 500e6;
/** Of the time of the other program. */
const GOALS = { cached: 0.5, files: 0.5, copy: 1, push: 1 };

/**
 * Measures both builders with one context.
 *
 * @param change changes the context before each build
 */
async function besideBuildah(
  name: string,
  { work, runs, goal }: { work: string; runs: number; goal: number },
  context: string,
  change: (run: number) => void,
): Promise<Measurement[]> {
  const own = mkdtempSync(join(work, 'stores-'));
  using ours = tsvm(own);
  using theirs = buildah(own);
  const samples = new Samples();
  // The first build of each fills its cache, and is not measured.
  for (let run = 0; run <= runs; run++) {
    change(run);
    for (const builder of [ours, theirs]) {
      const took = await builder.build(context);
      if (run > 0) samples.add(`${name}: ${builder.name}`, 'ms', took);
      execFileSync('sync');
    }
  }
  for (const builder of [ours, theirs]) builder.empty();
  const [one, other] = samples.measurements();
  return [one!, other!, { ...ratio('  tsvm / buildah', one, other), goal }];
}

function cached(work: string): string {
  const context = join(work, 'cached');
  mkdirSync(context);
  const copies = Array.from({ length: 8 }, (_, i) => {
    writeFileSync(join(context, `f${i}`), String(i));
    return `COPY f${i} /d/\n`;
  });
  const words = `FROM scratch\nARG A=1\nENV B=$A\nWORKDIR /d\n${copies.join('')}LABEL c=d\nUSER 1\nCMD ["/d/f0"]\n`;
  writeFileSync(join(context, 'Dockerfile'), words);
  return context;
}

function manyFiles(work: string, files: number): string {
  const context = join(work, 'files');
  for (let i = 0; i < files; i++) {
    const folder = join(context, 'src', String(Math.floor(i / FILES_IN_FOLDER)));
    if (i % FILES_IN_FOLDER === 0) mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `f${i}`), `contents of file ${i}\n`.repeat(1 + (i % 50)));
  }
  writeFileSync(join(context, 'Dockerfile'), 'FROM scratch\nCOPY src /src\n');
  return context;
}

function largeFile(work: string, bytes: number): string {
  const context = join(work, 'copy');
  mkdirSync(context);
  const fd = openSync(join(context, 'large'), 'w');
  for (let at = 0; at < bytes; at += 1e6) writeSync(fd, randomBytes(Math.min(1e6, bytes - at)));
  closeSync(fd);
  writeFileSync(join(context, 'Dockerfile'), 'FROM scratch\nCOPY large /large\n');
  return context;
}

/** Writes a few other bytes to the beginning of a file. */
function touch(path: string, run: number): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, `run ${run}`, 0);
  closeSync(fd);
}

/** Half of the bytes of each layer can be compressed. */
function halfRandom(bytes: number, seed: number): Buffer {
  const random = new Random(seed);
  const data = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 64 << 10) random.bytes(Math.min(32 << 10, bytes - at)).copy(data, at);
  return data;
}

/** Each push starts with an empty registry, and a store that knows of none. */
async function besideSkopeo(work: string, runs: number, bytes: number): Promise<Measurement[]> {
  const layout = join(work, 'layout');
  const size = Math.ceil(bytes / LAYERS);
  const layers = Array.from({ length: LAYERS }, (_, i) => tar([{ path: `layer${i}`, data: halfRandom(size, i + 1) }]));
  writeLayout(layout, layers, { compress: plainLayer });
  const samples = new Samples();
  for (let run = 0; run < runs; run++) {
    for (const who of ['tsvm push', 'skopeo copy'] as const) {
      const own = mkdtempSync(join(work, 'push-'));
      await using registry = await startRegistry(join(own, 'registry'));
      const name = `${registry.host}/bench:1`;
      const env = { ...process.env, TSVM_HOME: join(own, 'home') };
      if (who === 'tsvm push') {
        execFileSync(CLI, ['load', '-q', '-i', layout], { env, stdio: 'ignore' });
        const id = execFileSync(CLI, ['images', '-q', '--no-trunc'], { env, encoding: 'utf8' }).trim();
        execFileSync(CLI, ['tag', id, name], { env });
        samples.add(`push of ${bytes / 1e6} MB: ${who}`, 'ms', await timed(CLI, ['push', '-q', name], env));
      } else {
        const words = ['copy', '-q', '--dest-tls-verify=false', `oci:${layout}:latest`, `docker://${name}`];
        samples.add(`push of ${bytes / 1e6} MB: ${who}`, 'ms', await timed('skopeo', words));
      }
      rmSync(own, { recursive: true });
      execFileSync('sync');
    }
  }
  const [one, other] = samples.measurements();
  return [one!, other!, { ...ratio('  tsvm / skopeo', one, other), goal: GOALS.push }];
}

export const builds: Benchmark = {
  name: 'builds',
  title: 'Builds beside buildah, and a push beside skopeo, none of which needs a machine',
  needsKvm: false,
  async measure({ runs, scale }) {
    const work = mkdtempSync(join(tmpdir(), 'tsvm-bench-builds-'));
    try {
      const [count, copied, pushed] = [FILES, COPIED_BYTES, PUSHED_BYTES].map((each) => Math.ceil(each * scale));
      const files = manyFiles(work, count!);
      const copy = largeFile(work, copied!);
      return [
        ...(await besideBuildah('all cached', { work, runs, goal: GOALS.cached }, cached(work), () => {})),
        ...(await besideBuildah(`${count} files, one changed`, { work, runs, goal: GOALS.files }, files, (run) =>
          touch(join(files, 'src/0/f7'), run),
        )),
        ...(await besideBuildah(`COPY of ${copied! / 1e6} MB`, { work, runs, goal: GOALS.copy }, copy, (run) =>
          touch(join(copy, 'large'), run),
        )),
        ...(await besideSkopeo(work, runs, pushed!)),
      ];
    } finally {
      rmSync(work, { recursive: true });
    }
  },
};
