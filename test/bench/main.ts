// `npm run bench`: measures, prints a table, and writes JSON. If the host's KVM cannot run a stock
// kernel, benchmarks that need KVM run in the lab. This program then runs a second time, in the
// lab.

import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus, release } from 'node:os';
import { parseArgs } from 'node:util';
import { messageOf } from '../../errors/index.js';
import { prepareGuest } from './bench-guest.js';
import { besideQemu } from './beside-qemu.js';
import { buildRuns, buildRunsKvm } from './build-runs.js';
import { builds } from './builds.js';
import { cliStart } from './cli-start.js';
import { containers } from './containers.js';
import { convert } from './convert.js';
import { emulated } from './emulated.js';
import { emulatedDisk } from './emulated-disk.js';
import { emulatedNetwork } from './emulated-network.js';
import { emulatedStream } from './emulated-stream.js';
import { emulatedTuning } from './emulated-tuning.js';
import { engines, enginesKvm } from './engines.js';
import { firstByte } from './first-byte.js';
import { flows } from './flows.js';
import { forks } from './forks.js';
import { jailStart } from './jail-start.js';
import { jailThroughput } from './jail-throughput.js';
import type { Benchmark, BenchmarkOptions, BenchmarkResult } from './measurement.js';
import { emulatedMemoryReturned, memoryReturned } from './memory-returned.js';
import { networkStart } from './network-start.js';
import { BENCH_PROGRAM, CLI, LAB_PROGRAM } from './paths.js';
import { pull } from './pull.js';
import { formatResult } from './report.js';
import { runMemory } from './run-memory.js';
import { runPhases } from './run-phases.js';
import { serve } from './serve.js';
import { storeSize } from './store-size.js';
import { tenants } from './tenants.js';
import { throughput } from './throughput.js';
import { volumes } from './volumes.js';
import { warm } from './warm.js';
import { withoutKvm } from './without-kvm.js';

const BENCHMARKS: readonly Benchmark[] = [
  cliStart,
  runPhases,
  warm,
  forks,
  runMemory,
  besideQemu,
  throughput,
  emulated,
  emulatedDisk,
  emulatedStream,
  emulatedNetwork,
  flows,
  networkStart,
  jailStart,
  jailThroughput,
  emulatedTuning,
  firstByte,
  storeSize,
  convert,
  memoryReturned,
  emulatedMemoryReturned,
  tenants,
  volumes,
  pull,
  builds,
  buildRuns,
  buildRunsKvm,
  containers,
  engines,
  enginesKvm,
  serve,
  withoutKvm,
];

const USAGE = `usage: npm run bench -- [--runs N] [--image IMAGE] [--scale PART] [--json FILE] [NAME...]
names: ${BENCHMARKS.map(({ name }) => name).join(', ')}`;

/** Marks the line with the JSON of the program in the lab among other output. */
const RESULT_MARK = 'tsvm-bench-results ';

function kvmUsable(): boolean {
  try {
    const report = execFileSync(CLI, ['doctor', '--format', 'json'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return JSON.parse(report).kvm?.usable === true;
  } catch {
    // The doctor exits with code 1 if it found a problem.
    return false;
  }
}

async function measureHere(benchmarks: readonly Benchmark[], options: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const results: BenchmarkResult[] = [];
  // Machines boot, but for the benchmark of those that do not.
  process.env.TSVM_TEMPLATES_SIZE = '0';
  // Those of User-Mode Linux name it. Pauses and machines without a jail need another one.
  process.env.TSVM_ACCEL = kvmUsable() ? 'kvm' : 'tcg';
  for (const { title, measure } of benchmarks) {
    process.stderr.write(`measuring: ${title}\n`);
    try {
      results.push({ title, measurements: await measure(options) });
    } catch (error) {
      results.push({ title, measurements: [], failure: messageOf(error) });
    }
  }
  return results;
}

/** Runs the benchmarks in the lab. @throws Error if the program there fails */
function measureInLab(benchmarks: readonly Benchmark[], { runs, image, scale }: BenchmarkOptions): BenchmarkResult[] {
  const names = benchmarks.map(({ name }) => name);
  const args = [
    LAB_PROGRAM,
    process.execPath,
    BENCH_PROGRAM,
    '--inside',
    '--runs',
    String(runs),
    '--image',
    image,
    '--scale',
    String(scale),
    ...names,
  ];
  const { stdout, status } = spawnSync(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  const line = stdout.split('\n').find((text) => text.startsWith(RESULT_MARK));
  if (status !== 0 || line === undefined)
    throw new Error(`the benchmarks in the lab failed (exit code ${status})\n${stdout}`);
  return JSON.parse(line.slice(RESULT_MARK.length));
}

function describeMachine(inLab: boolean): string {
  const kvm = inLab ? '; KVM in the lab: a machine in software, many times slower than hardware' : '';
  return `${cpus()[0]?.model}, ${availableParallelism()} CPUs, Linux ${release()}, node ${process.version}${kvm}`;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      runs: { type: 'string', default: '5' },
      image: { type: 'string', default: 'debian:12' },
      scale: { type: 'string', default: '1' },
      json: { type: 'string' },
      inside: { type: 'boolean', default: false },
    },
  });
  const options = { runs: Number(values.runs), image: values.image, scale: Number(values.scale) };
  const chosen = BENCHMARKS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  const known = positionals.every((word) => BENCHMARKS.some(({ name }) => name === word));
  if (!(options.runs >= 1) || !(options.scale > 0) || !known) throw new Error(USAGE);
  if (values.inside) {
    process.stdout.write(`${RESULT_MARK}${JSON.stringify(await measureHere(chosen, options))}\n`);
    return;
  }
  const inLab = chosen.some(({ needsKvm }) => needsKvm) && !kvmUsable();
  if ([besideQemu, emulated, emulatedTuning].some((benchmark) => chosen.includes(benchmark)))
    await prepareGuest(options.image);
  const results = await measureHere(
    chosen.filter(({ needsKvm }) => !(needsKvm && inLab)),
    options,
  );
  if (inLab)
    results.push(
      ...measureInLab(
        chosen.filter(({ needsKvm }) => needsKvm),
        options,
      ),
    );
  const machine = describeMachine(inLab);
  process.stdout.write(`${machine}\n\n${results.map(formatResult).join('\n')}`);
  if (results.some(({ failure }) => failure !== undefined)) process.exitCode = 1;
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ machine, results }, null, 2)}\n`);
}

main().catch((error: Error) => {
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = 1;
});
