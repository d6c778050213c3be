// The pull of an image of some 300 MB from a registry on loopback, until it is ready to run. It is
// compared with skopeo and umoci, which unpack it, and with podman, which unpacks it into its own
// store.
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { LAYER_TYPE, writeLayout } from '../fixtures/oci-layout.js';
import { startRegistry } from '../fixtures/registry.js';
import { type Benchmark, need, ratio, Samples } from './measurement.js';
import { BENCH_FOLDER, CLI } from './paths.js';
import { time } from './stopwatch.js';

const PACKAGES = 'python3,nodejs';
/** The part of the root file system in each layer, as arguments of tar. */
const LAYERS = [
  ['--exclude=./usr/lib', '--exclude=./usr/share', '--exclude=./dev', '.'],
  ['./usr/share'],
  ['--exclude=./usr/lib/x86_64-linux-gnu', './usr/lib'],
  ['./usr/lib/x86_64-linux-gnu'],
];
const MAX_LAYER = 2 ** 30;

/** Makes an OCI layout of a Debian root, if there is none yet. Returns its path. */
function prepareLayout(): string {
  const layout = join(BENCH_FOLDER, 'pull-layout');
  if (existsSync(layout)) return layout;
  process.stderr.write('making an image of some 300 MB\n');
  const root = join(BENCH_FOLDER, 'pull-root');
  const made = `${layout}.new`;
  for (const path of [root, made]) rmSync(path, { recursive: true, force: true });
  mkdirSync(BENCH_FOLDER, { recursive: true });
  const options = ['--quiet', '--variant=minbase', `--include=${PACKAGES}`, '--format=directory'];
  execFileSync('mmdebstrap', [...options, 'bookworm', root], { stdio: ['ignore', 'ignore', 'inherit'] });
  const tars = LAYERS.map((words) => execFileSync('tar', ['-C', root, '-c', ...words], { maxBuffer: MAX_LAYER }));
  const compress = (tar: Buffer) => ({ bytes: gzipSync(tar), mediaType: `${LAYER_TYPE}+gzip` });
  writeLayout(made, tars, { compress, config: { Cmd: ['python3'] } });
  rmSync(root, { recursive: true });
  renameSync(made, layout);
  return layout;
}

interface Way {
  name: string;
  /** Returns the commands that bring the image `from` to an empty folder. */
  commands: (from: string, folder: string) => string[][];
  env?: (folder: string) => NodeJS.ProcessEnv;
}

const WAYS: Way[] = [
  {
    name: 'tsvm pull',
    commands: (from) => [[CLI, 'pull', '-q', from]],
    env: (folder) => ({ ...process.env, TSVM_HOME: folder }),
  },
  {
    name: 'skopeo copy + umoci unpack',
    commands: (from, folder) => [
      ['skopeo', 'copy', '-q', '--src-tls-verify=false', `docker://${from}`, `oci:${folder}/layout:1`],
      ['umoci', 'unpack', '--image', `${folder}/layout:1`, `${folder}/bundle`],
    ],
  },
  {
    name: 'podman pull (overlay)',
    commands: (from, folder) => [
      [
        ...['podman', '--root', `${folder}/store`, '--runroot', `${folder}/run`, '--storage-driver', 'overlay'],
        ...['pull', '-q', '--tls-verify=false', from],
      ],
    ],
  },
];

export const pull: Benchmark = {
  name: 'pull',
  title: 'Pull of an image of some 300 MB from a registry on loopback, until it can be run',
  needsKvm: false,
  async measure({ runs }) {
    const layout = prepareLayout();
    const work = join(tmpdir(), `tsvm-bench-${randomBytes(6).toString('hex')}`);
    mkdirSync(work);
    try {
      await using registry = await startRegistry(join(work, 'registry'));
      const from = `${registry.host}/bench:1`;
      execFileSync('skopeo', ['copy', '-q', '--dest-tls-verify=false', `oci:${layout}`, `docker://${from}`]);
      const samples = new Samples();
      for (let run = 0; run < runs; run++) {
        for (const { name, commands, env } of WAYS) {
          const folder = join(work, 'store');
          mkdirSync(folder);
          let took = 0;
          for (const [command = '', ...args] of commands(from, folder)) {
            const { exit, code, text } = await time(command, args, env === undefined ? {} : { env: env(folder) });
            if (code !== 0) throw new Error(`${command} ${args.join(' ')}: exit code ${code}\n${text}`);
            took += exit;
          }
          samples.add(name, 'ms', took);
          // Podman leaves a mount behind.
          spawnSync('umount', [join(folder, 'store/overlay')]);
          rmSync(folder, { recursive: true });
          execFileSync('sync');
        }
      }
      const [ours, ...others] = samples.measurements();
      return [need(ours, 'pull'), ...others.flatMap((other) => [other, ratio(`  tsvm / ${other.name}`, ours, other)])];
    } finally {
      rmSync(work, { recursive: true });
    }
  },
};
