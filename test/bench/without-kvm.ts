// Containers without KVM: User-Mode Linux beside the host itself, gVisor and QEMU's emulator. Rounds
// alternate between them, and ratios are of the values of one round.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { weigh } from '../../compare/memory.js';
import { type Ended, run, startIdling, succeeded } from '../../compare/running.js';
import { orderOf } from '../../compare/schedule.js';
import { type Benchmark, type Measurement, measurement, median, need, Samples } from './measurement.js';
import { emptyWork, makeWorkImage } from './without-kvm-image.js';
import { type WorkLevel, workLevels } from './without-kvm-levels.js';
import { ALL_TASKS, DRIVER, MEMORY, ROWS, readValues, START } from './without-kvm-rows.js';

/** Milliseconds until memory that only the start needed is freed. */
const SETTLE = 1000;
/** Starts of a round, of which the median counts: a start is short. */
const STARTS = 3;

const HOST = 'host';
const UML = 'uml';
/** Goals for User-Mode Linux: shares of another level's time, and of the rows, at most. */
const GOALS = { computeOfHost: 1.1, startOfTcg: 0.5, allOfTcg: 1 / 3, behindGvisor: 0.5 };

/** The values of one round of a level, by row. */
type Values = ReadonlyMap<string, number>;

const signal = new AbortController().signal;

async function ended(level: WorkLevel, id: string, command: readonly string[]): Promise<Ended> {
  try {
    const end = await run(level.run(id, command), signal);
    succeeded(end);
    return end;
  } finally {
    await remove(level, id);
  }
}

async function remove(level: WorkLevel, id: string): Promise<void> {
  const command = level.remove?.(id);
  if (command !== undefined) await run(command, signal);
}

async function weighIdle(level: WorkLevel, id: string): Promise<number> {
  try {
    await using idling = await startIdling(level.run(id, [DRIVER, 'idle']), signal);
    await sleep(SETTLE);
    return weigh(idling.pid).memory;
  } finally {
    await remove(level, id);
  }
}

async function measureRound(level: WorkLevel, id: string, rootfs: string): Promise<Values> {
  const starts: number[] = [];
  for (let start = 0; start < STARTS; start++) {
    starts.push((await ended(level, `${id}-start-${start}`, ['/bin/true'])).time);
  }
  const memory = await weighIdle(level, `${id}-idle`);
  const { stdout } = await ended(level, `${id}-work`, [DRIVER, ...ALL_TASKS]);
  emptyWork(rootfs);
  const values = readValues(stdout);
  return new Map([
    [START, median(starts)],
    ...ROWS.map(({ name }, index) => [name, need(values[index], name)] as const),
    [MEMORY, memory],
  ]);
}

/** The ratio of two levels in each round. */
function ratios(rounds: ReadonlyMap<string, Values[]>, row: string, other: string): number[] {
  const [mine, theirs] = [need(rounds.get(UML), UML), need(rounds.get(other), other)];
  return mine.map((values, round) => need(values.get(row), row) / need(theirs[round]?.get(row), row));
}

function geometricMean(numbers: readonly number[]): number {
  return Math.exp(numbers.reduce((sum, number) => sum + Math.log(number), 0) / numbers.length);
}

function summarize(rounds: ReadonlyMap<string, Values[]>): Measurement[] {
  // Every row but memory is a time.
  const times = [START, ...ROWS.map(({ name }) => name)];
  const rows = [...times, MEMORY];
  const beside = (other: string, goalOf: (row: string) => number | undefined = () => undefined): Measurement[] =>
    (other === HOST ? times : rows).map((row) => {
      const goal = goalOf(row);
      const found = measurement(`${UML} / ${other}: ${row}`, 'ratio', ratios(rounds, row, other));
      return goal === undefined ? found : { ...found, goal };
    });
  const count = need(rounds.get(UML), UML).length;
  const ofTcg = Array.from({ length: count }, (_, round) =>
    geometricMean(times.map((row) => need(ratios(rounds, row, 'tcg')[round], row))),
  );
  const result = [
    ...beside(HOST, (row) =>
      ROWS.some(({ name, isCompute }) => name === row && isCompute) ? GOALS.computeOfHost : undefined,
    ),
    ...beside('tcg', (row) => (row === START ? GOALS.startOfTcg : undefined)),
    { ...measurement(`${UML} / tcg: geometric mean of all times`, 'ratio', ofTcg), goal: GOALS.allOfTcg },
  ];
  const gvisor = [...rounds.keys()].find((name) => name.startsWith('runsc'));
  if (gvisor === undefined) return result;
  const found = beside(gvisor);
  const behind = found.filter(({ value }) => value >= 1).length / found.length;
  const share = measurement(`share of rows in which ${gvisor} is ahead of ${UML}`, 'ratio', [behind]);
  return [...result, ...found, { ...share, goal: GOALS.behindGvisor }];
}

export const withoutKvm: Benchmark = {
  name: 'without-kvm',
  title: 'Containers without KVM: User-Mode Linux beside the host, gVisor and the emulator, one image',
  needsKvm: false,
  async measure({ runs }) {
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
    using image = await makeWorkImage();
    const levels = await workLevels(image, folder);
    const rounds = new Map<string, Values[]>(levels.map(({ name }) => [name, []]));
    const samples = new Samples();
    try {
      // The first run of each fills caches.
      for (const level of levels) await ended(level, `bench-${process.pid}-first`, ['/bin/true']);
      for (let round = 0; round < runs; round++) {
        for (const level of orderOf(levels, round)) {
          process.stderr.write(`round ${round + 1} of ${runs}: ${level.name}\n`);
          const values = await measureRound(level, `bench-${process.pid}-${round}`, image.rootfs);
          need(rounds.get(level.name), level.name).push(values);
        }
      }
    } finally {
      for (const level of levels) await level[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
    }
    for (const { name } of levels) {
      for (const values of need(rounds.get(name), name)) {
        for (const [row, value] of values) {
          const unit = row === MEMORY ? 'MiB' : (ROWS.find((each) => each.name === row)?.unit ?? 'ms');
          samples.add(`${name}: ${row}`, unit, value);
        }
      }
    }
    return [...samples.measurements(), ...summarize(rounds)];
  },
};
