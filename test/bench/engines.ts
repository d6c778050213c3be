// Containers of the OCI runtime beside runc's: the time that its commands take, alone and called by
// podman, and what a pod's machine takes of the host beside the guest's memory.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findKernel } from '../../sandbox/run/kernel.js';
import { cgroupsNamed, removeCgroups } from '../e2e/folders.js';
import { populate } from '../unit/guest-agent/container-image.js';
import { timed } from './builders.js';
import { type Benchmark, need, ratio, Samples } from './measurement.js';
import { OCI_RUNTIME } from './paths.js';
import { descendantsOf, machineOf } from './proc.js';

/** Milliseconds to wait until memory that only the start needed is freed. */
const SETTLE = 3000;
/** Short commands are measured more often. */
const SHORT = 4;
const CGROUP = `tsvm-bench-engines-${process.pid}`;
/** Writes and reads files, starts programs, writes output. */
const LOAD = `for i in 1 2 3 4; do head -c 16777216 /dev/urandom > /$i; sha256sum /$i; done
i=0; while [ $i -lt 100 ]; do true $i; /bin/true; i=$((i + 1)); done
head -c 16777216 /dev/zero | tr '\\0' x; echo loaded; exec sleep 1000`;

type Accel = 'kvm' | 'uml';

/** A runtime with a folder of its own for the state of its containers. */
interface Runtime {
  name: string;
  words: readonly string[];
}

/** Calls a runtime. Resolves to milliseconds. */
function call({ words }: Runtime, ...more: string[]): Promise<number> {
  const [program = '', ...global] = words;
  return timed(program, [...global, ...more]);
}

class Bench implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
  readonly tsvm: Runtime = { name: 'tsvm-oci', words: [OCI_RUNTIME, '--root', join(this.folder, 'tsvm')] };
  readonly runc: Runtime = { name: 'runc', words: ['runc', '--root', join(this.folder, 'runc')] };
  readonly rootfs = join(this.folder, 'rootfs');
  /** runc's own configuration. */
  readonly #config: Record<string, unknown> & { process: object; linux: { namespaces: { type: string }[] } };
  #bundles = 0;
  pods = 0;

  constructor(readonly accel: Accel) {
    mkdirSync(this.rootfs);
    populate(this.rootfs);
    execFileSync('runc', ['spec'], { cwd: this.folder });
    this.#config = JSON.parse(readFileSync(join(this.folder, 'config.json'), 'utf8'));
  }

  /**
   * Makes a bundle. Returns its path.
   * @param cgroup below the benchmark's own
   * @param network path of the network namespace to join
   */
  bundle(args: readonly string[], cgroup: string, network?: string): string {
    const bundle = join(this.folder, `bundle-${this.#bundles++}`);
    mkdirSync(bundle);
    const { process, linux, ...config } = this.#config;
    const namespaces = linux.namespaces.map((each) =>
      each.type === 'network' && network !== undefined ? { ...each, path: network } : each,
    );
    const words = {
      ...config,
      annotations: { 'dev.tsvm.accel': this.accel },
      root: { path: this.rootfs },
      process: { ...process, args, terminal: false },
      linux: { ...linux, namespaces, cgroupsPath: `/${CGROUP}/${cgroup}` },
    };
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(words));
    return bundle;
  }

  /** Runs a container from `create` to `delete`. Resolves to milliseconds. */
  async cycle(runtime: Runtime, bundle: string): Promise<number> {
    const begin = performance.now();
    const ended = await this.create(runtime, bundle, 'cycle');
    await call(runtime, 'start', 'cycle');
    await ended.promise;
    await call(runtime, 'delete', '--force', 'cycle');
    return performance.now() - begin;
  }

  /**
   * Creates a container. Resolves when it is created, to a promise that resolves when nothing writes its output
   * any more.
   * @param until text of its output that ends the promise earlier
   */
  async create({ words }: Runtime, bundle: string, id: string, until?: string): Promise<{ promise: Promise<void> }> {
    const [program = '', ...global] = words;
    const child = spawn(program, [...global, 'create', '--bundle', bundle, id], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const promise = new Promise<void>((resolve) => {
      child.stdout.once('end', resolve).on('data', (chunk: Buffer) => {
        if (until !== undefined && chunk.includes(until)) resolve();
      });
    });
    const [code] = await once(child, 'exit');
    if (code !== 0) throw new Error(`${program} create: exit code ${code}`);
    return { promise };
  }

  /** Takes what a machine is made of out of the page cache, but for Node.js itself. */
  async forget(): Promise<void> {
    const dist = dirname(OCI_RUNTIME);
    const { path } = await findKernel({ accel: this.accel });
    for (const name of readdirSync(dist)) forgetFile(join(dist, name));
    forgetFile(path);
  }

  /** State of a container: a process id. */
  pid(id: string, file: 'keeper.pid' | 'stub'): number {
    return Number(readFileSync(join(this.folder, 'tsvm', id, file), 'utf8').split(' ')[0]);
  }

  [Symbol.dispose](): void {
    for (const { words } of [this.tsvm, this.runc]) {
      const [program = '', ...global] = words;
      const root = need(global[1], 'state folder');
      for (const id of existsSync(root) ? readdirSync(root) : [])
        spawnSync(program, [...global, 'delete', '--force', id], { stdio: 'ignore' });
    }
    rmSync(this.folder, { recursive: true });
    removeCgroups(CGROUP);
  }
}

/** A folder has no pages. */
function forgetFile(path: string): void {
  spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0'], { stdio: 'ignore' });
}

/** A file of the cgroup in the hierarchy that has it. */
function readCgroup(cgroup: string, ...names: string[]): string | undefined {
  const files = cgroupsNamed(CGROUP)
    .filter((path) => path.endsWith(`/${CGROUP}/${cgroup}`))
    .flatMap((path) => names.map((name) => join(path, name)));
  const file = files.find((each) => existsSync(each));
  return file && readFileSync(file, 'latin1');
}

const MIB = 2 ** 20;

/** A number of the cgroup's memory.stat, by its name of cgroup v1, or of v2. */
function statistic(cgroup: string, ...names: string[]): number {
  const stat = need(readCgroup(cgroup, 'memory.stat'), 'memory.stat');
  const found = names.map((name) => new RegExp(`^${name} (\\d+)$`, 'm').exec(stat)?.[1]);
  return Number(
    need(
      found.find((value) => value !== undefined),
      names.join(' or '),
    ),
  );
}

/** `MiB` that a cgroup cannot give back: of the processes alone, and the kernel's for them. */
function heldBy(cgroup: string): number {
  const kernel = readCgroup(cgroup, 'memory.kmem.usage_in_bytes') ?? statistic(cgroup, 'kernel');
  return (statistic(cgroup, 'total_rss', 'anon') + Number(kernel)) / MIB;
}

/** `MiB` of a process (PSS), but for shared memory, as a guest's is on each machine. */
function besideGuest(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
  const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0);
  return (of('Pss') - of('Pss_Shmem')) / 1024;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

async function measurePod(bench: Bench, samples: Samples, what: string, script: string): Promise<void> {
  const { tsvm } = bench;
  const cgroup = `pod-${bench.pods++}`;
  await bench.create(tsvm, bench.bundle(['/bin/sleep', '1000'], `${cgroup}/first`), 'first');
  await call(tsvm, 'start', 'first');
  const network = `/proc/${bench.pid('first', 'stub')}/ns/net`;
  const second = bench.bundle(['/bin/sh', '-c', script], `${cgroup}/second`, network);
  const loaded = await bench.create(tsvm, second, 'second', 'loaded');
  await call(tsvm, 'start', 'second');
  await loaded.promise;
  await sleep(SETTLE);
  const keeper = bench.pid('first', 'keeper.pid');
  const machine = need(machineOf(keeper), 'machine process');
  const processes = [keeper, ...descendantsOf(keeper), ...['first', 'second'].map((id) => bench.pid(id, 'stub'))];
  const add = (name: string, value: number) => samples.add(`${what}: ${name}`, 'MiB', value);
  add("all processes beside the guest's memory (PSS)", sum(processes.map(besideGuest)));
  add('  of that, the keeper', besideGuest(keeper));
  add('  of that, the machine process', besideGuest(machine));
  add("cgroup: the guest's memory", statistic(cgroup, 'total_shmem', 'shmem') / MIB);
  add('cgroup: of processes alone, and of the kernel', heldBy(cgroup));
  const peak = Number(need(readCgroup(cgroup, 'memory.max_usage_in_bytes', 'memory.peak'), 'peak')) / MIB;
  add("cgroup: peak, with the guest's memory and page cache", peak);
  for (const id of ['second', 'first']) await call(tsvm, 'delete', '--force', id);
}

/** podman with a store of its own. */
function podman(bench: Bench): Disposable & { run(runtime: string, name: string): void; words: readonly string[] } {
  const configuration = join(bench.folder, 'containers.conf');
  writeFileSync(configuration, '[containers]\ndefault_ulimits=["nofile=1024:4096","nproc=1024:4096"]\n');
  process.env.CONTAINERS_CONF = configuration;
  const at = (name: string) => join(bench.folder, 'podman', name);
  const words = [
    ...['--root', at('root'), '--runroot', at('runroot'), '--tmpdir', at('tmp'), '--storage-driver', 'vfs'],
    ...['--cgroup-manager', 'cgroupfs', '--events-backend', 'none'],
  ];
  const options = ['--network', 'none', '--cgroup-parent', `/${CGROUP}`];
  const annotation = ['--annotation', `dev.tsvm.accel=${bench.accel}`];
  return {
    words,
    run(runtime, name) {
      const container = ['run', '-d', '--name', name, ...options, ...annotation, '--rootfs', bench.rootfs];
      execFileSync('podman', [...words, '--runtime', runtime, ...container, 'sleep', '1000'], { stdio: 'ignore' });
    },
    [Symbol.dispose]() {
      spawnSync('podman', [...words, 'rm', '--all', '--force', '--time', '0'], { stdio: 'ignore' });
      delete process.env.CONTAINERS_CONF;
    },
  };
}

function benchmark(name: string, accel: Accel): Benchmark {
  return {
    name,
    title: `Containers of the OCI runtime (--accel ${accel}), beside runc`,
    needsKvm: accel === 'kvm',
    async measure({ runs }) {
      using bench = new Bench(accel);
      const samples = new Samples();
      const { tsvm, runc } = bench;
      const program = bench.bundle(['/bin/true'], 'cycle');
      // The first of each fills the page cache, and is not measured.
      for (let run = 0; run <= runs; run++) {
        for (const runtime of [tsvm, runc]) {
          const took = await bench.cycle(runtime, program);
          if (run > 0) samples.add(`create, start, exit, delete: ${runtime.name}`, 'ms', took);
        }
      }
      for (let run = 0; run < runs; run++) {
        await bench.forget();
        samples.add('  its files not in the page cache: tsvm-oci', 'ms', await bench.cycle(tsvm, program));
      }
      for (const runtime of [tsvm, runc]) {
        await bench.create(runtime, bench.bundle(['/bin/sleep', '1000'], runtime.name), 'stays');
        await call(runtime, 'start', 'stays');
      }
      for (let run = 0; run < SHORT * runs; run++) {
        for (const runtime of [tsvm, runc])
          samples.add(`state: ${runtime.name}`, 'ms', await call(runtime, 'state', 'stays'));
      }
      for (const runtime of [tsvm, runc]) await call(runtime, 'delete', '--force', 'stays');
      {
        using engine = podman(bench);
        for (const runtime of [OCI_RUNTIME, 'runc']) engine.run(runtime, runtime === 'runc' ? 'runc' : 'tsvm-oci');
        for (let run = 0; run < 2 * runs; run++) {
          for (const { name } of [tsvm, runc])
            samples.add(`podman exec: ${name}`, 'ms', await timed('podman', [...engine.words, 'exec', name, 'true']));
        }
      }
      for (let run = 0; run < runs; run++) {
        await measurePod(bench, samples, 'idle pod', 'echo loaded; exec sleep 1000');
        await measurePod(bench, samples, 'pod with load', LOAD);
      }
      const found = samples.measurements();
      const of = (what: string) => found.find((measured) => measured.name === what);
      const beside = (what: string) => ratio(`${what} beside runc`, of(`${what}: tsvm-oci`), of(`${what}: runc`));
      return [...found, beside('create, start, exit, delete'), { ...beside('state'), goal: 1 }, beside('podman exec')];
    },
  };
}

export const engines = benchmark('engines', 'uml');
export const enginesKvm = benchmark('engines-kvm', 'kvm');
