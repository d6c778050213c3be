// Builds that consist of RUN, on each machine, beside buildah's: a RUN of tsvm has a machine of its
// own, with a kernel, and one of buildah is a process in namespaces. No goal: the rows say what that
// costs.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildah, tsvm } from './builders.js';
import { type Benchmark, ratio, Samples } from './measurement.js';
import { CLI } from './paths.js';

const BASE = 'localhost/bench-base:1';
const SHORT = 4;

/** The steps of each Dockerfile. `RUN_NUMBER` is another one in each build. */
const DOCKERFILES: Record<string, readonly string[]> = {
  [`${SHORT} short RUNs`]: Array.from({ length: SHORT }, (_, i) => `RUN echo $RUN_NUMBER > /${i}`),
  'a RUN that writes 2000 files': ['RUN mkdir /d && for i in $(seq 2000); do echo $RUN_NUMBER $i > /d/$i; done'],
  'a RUN that computes (sha256sum of 256 MiB)': [
    'RUN echo $RUN_NUMBER > /n && head -c 256M /dev/zero | sha256sum > /sum',
  ],
};

function benchmark(name: string, title: string, machines: readonly string[], needsKvm: boolean): Benchmark {
  return {
    name,
    title,
    needsKvm,
    async measure({ runs, image }) {
      const work = mkdtempSync(join(tmpdir(), 'tsvm-bench-build-runs-'));
      const archive = join(work, 'base.tar');
      execFileSync(CLI, ['save', '-q', '-o', archive, image]);
      const mine = machines.map((machine) => tsvm(join(work, machine), machine));
      using theirs = buildah(work);
      try {
        for (const builder of [...mine, theirs]) builder.load(archive, BASE);
        const found = [];
        for (const [what, steps] of Object.entries(DOCKERFILES)) {
          const context = join(work, `context-${found.length}`);
          mkdirSync(context);
          writeFileSync(join(context, 'Dockerfile'), `FROM ${BASE}\nARG RUN_NUMBER\n${steps.join('\n')}\n`);
          const samples = new Samples();
          // The first build of each fills the caches, and is not measured.
          for (let run = 0; run <= runs; run++) {
            for (const builder of [...mine, theirs]) {
              const words = ['--network', 'none', '--build-arg', `RUN_NUMBER=${run}`];
              const took = await builder.build(context, ...words);
              if (run > 0) samples.add(`${what}: ${builder.name}`, 'ms', took);
            }
          }
          const measured = samples.measurements();
          found.push(...measured);
          for (const [at, machine] of machines.entries())
            found.push(ratio(`  ${machine} / buildah`, measured[at], measured.at(-1)));
        }
        return found;
      } finally {
        for (const builder of [...mine, theirs]) builder.empty();
        rmSync(work, { recursive: true });
      }
    },
  };
}

export const buildRuns = benchmark(
  'build-runs',
  'Builds that consist of RUN without KVM, beside buildah',
  ['uml', 'tcg'],
  false,
);
export const buildRunsKvm = benchmark(
  'build-runs-kvm',
  'Builds that consist of RUN on KVM, beside buildah',
  ['kvm'],
  true,
);
