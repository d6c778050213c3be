// Containers that stay:
// - the cost of a command in one, compared with runc
// - the cost of a list of a hundred, compared with podman and with a bare start of node
// - the time that `tsvm run -d` takes
// - the host memory of an idle container
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Benchmark, need, ratio, Samples } from './measurement.js';
import { CLI } from './paths.js';
import { containerUse, pidOfMachine } from './proc.js';
import { time } from './stopwatch.js';

const CONTAINERS = 100;
const PROGRAMS = ['/bin/true', '/bin/sleep'];

function tsvm(...args: string[]): string {
  return execFileSync(CLI, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
}

/** Returns the milliseconds that a command takes. @throws Error if it fails */
async function timeEnd(command: string, ...args: string[]): Promise<number> {
  const { exit, code, text } = await time(command, args);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: exit code ${code}: ${text}`);
  return exit;
}

/** Starts a container of runc with the programs that the benchmark needs. Disposal ends it. */
function startRunc(folder: string): Disposable & { id: string } {
  const id = `tsvm-bench-${process.pid}`;
  for (const program of PROGRAMS) {
    const libraries = [...execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g)];
    for (const path of [program, ...libraries.map(([, library = '']) => library)]) {
      mkdirSync(join(folder, 'rootfs', dirname(path)), { recursive: true });
      copyFileSync(path, join(folder, 'rootfs', path));
    }
  }
  execFileSync('runc', ['spec'], { cwd: folder });
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  Object.assign(config.process, { terminal: false, args: ['/bin/sleep', '1000'] });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  execFileSync('runc', ['run', '-d', id], { cwd: folder, stdio: 'ignore' });
  return { id, [Symbol.dispose]: () => execFileSync('runc', ['delete', '--force', id], { stdio: 'ignore' }) };
}

/**
 * Creates `CONTAINERS` containers of podman in a store of its own. None runs. Disposal removes
 * them.
 */
function createInPodman(folder: string): Disposable & { words: string[] } {
  const words = ['--root', join(folder, 'podman'), '--runroot', join(folder, 'run'), '--storage-driver', 'vfs'];
  const create = ['create', '--network', 'none', '--rootfs', join(folder, 'rootfs'), '/bin/true'];
  for (let made = 0; made < CONTAINERS; made++) execFileSync('podman', [...words, ...create], { stdio: 'ignore' });
  return { words, [Symbol.dispose]: () => execFileSync('podman', [...words, 'rm', '-fa'], { stdio: 'ignore' }) };
}

export const containers: Benchmark = {
  name: 'containers',
  title: 'Containers that stay',
  needsKvm: false,
  async measure({ runs, image }) {
    const samples = new Samples();
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
    const made: string[] = [];
    try {
      const started = performance.now();
      for (let run = 0; run < runs; run++) {
        made.push(tsvm('run', '-d', '-m', '128M', '--network', 'none', image, 'sleep', '1000'));
      }
      samples.add('tsvm run -d, one after the other', 'ms', (performance.now() - started) / runs);
      using runc = startRunc(folder);
      for (let run = 0; run < 2 * runs; run++) {
        samples.add('tsvm exec CONTAINER true', 'ms', await timeEnd(CLI, 'exec', need(made[0], 'container'), 'true'));
        samples.add('runc exec CONTAINER true', 'ms', await timeEnd('runc', 'exec', runc.id, '/bin/true'));
      }
      for (const id of made) {
        const all = containerUse(pidOfMachine(id));
        samples.add(
          'host memory of an idle container of 128 MiB (PSS)',
          'MiB',
          all.reduce((sum, { pss }) => sum + pss, 0),
        );
        samples.add('of that, its supervisor', 'MiB', need(all[0], 'supervisor').pss);
      }
      while (made.length < CONTAINERS) made.push(tsvm('create', image, 'true'));
      using podman = createInPodman(folder);
      for (let run = 0; run < 2 * runs; run++) {
        samples.add(`tsvm ps -a with ${CONTAINERS} containers`, 'ms', await timeEnd(CLI, 'ps', '-a'));
        samples.add(
          `podman ps -a with ${CONTAINERS} containers`,
          'ms',
          await timeEnd('podman', ...podman.words, 'ps', '-a'),
        );
        samples.add('node -e 0', 'ms', await timeEnd(process.execPath, '-e', '0'));
      }
      const found = samples.measurements();
      const of = (name: string) => found.find((measured) => measured.name.startsWith(name))!;
      return [
        ...found,
        ratio('exec beside runc', of('tsvm exec'), of('runc exec')),
        ratio('ps beside podman', of('tsvm ps'), of('podman ps')),
        ratio('ps beside node -e 0', of('tsvm ps'), of('node -e 0')),
      ];
    } finally {
      if (made.length > 0) tsvm('rm', '-f', ...made);
      rmSync(folder, { recursive: true });
    }
  },
};
