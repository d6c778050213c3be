// The work that `bench -- without-kvm` gives to each sandbox, and how its time is read.
import type { Measurement } from './measurement.js';

/** The folder of the benchmark's own files in the image. */
export const FILES = '/bench';
export const DRIVER = `${FILES}/work`;
/** A folder of the image in which tasks write. */
export const WORK = '/work';
export const ARCHIVE = `${FILES}/files.tar`;
export const ARCHIVED_FILES = 10_000;

export interface Row {
  name: string;
  unit: Measurement['unit'];
  /** What the processor alone does: a level that runs programs natively takes the host's time. */
  isCompute?: boolean;
  /** Words for the driver. */
  words: readonly string[];
  /** The value, from what the task printed. Default: the time by the driver's clock. */
  read?(output: string): number;
}

export const START = 'run true, to exit';
export const MEMORY = 'memory of an idle sandbox';

const LOOP_C = 200_000_000;
const LOOP_SCRIPT = 5_000_000;
const SECONDS = 2;

const compute = (name: string, ...words: string[]): Row => ({ name, unit: 'ms', isCompute: true, words });
const task = (name: string, ...words: string[]): Row => ({ name, unit: 'ms', words });

/** Index of the operations per second of reads and of writes: fio(1), "TERSE OUTPUT" version 3. */
const READS_PER_SECOND = 7;
const WRITES_PER_SECOND = 48;

function fio(direct: 0 | 1): Row {
  return {
    name: `fio, 4 KiB at random, half of it writes, ${direct === 1 ? 'direct' : 'buffered'}`,
    unit: 'us',
    words: [
      ...['fio', '--name=mixed', '--rw=randrw', '--bs=4k', '--size=32M', '--ioengine=psync', '--thread'],
      ...[`--direct=${direct}`, '--time_based', `--runtime=${SECONDS}`, '--gtod_reduce=1', '--fallocate=none'],
      ...[`--filename=${WORK}/fio`, '--output-format=terse', '--terse-version=3'],
    ],
    read(output) {
      const fields = output
        .split('\n')
        .find((line) => line.startsWith('3;fio'))
        ?.split(';');
      return 1e6 / (Number(fields?.[READS_PER_SECOND]) + Number(fields?.[WRITES_PER_SECOND]));
    },
  };
}

/** The server tells nobody when it listens. */
const IPERF3 = `iperf3 --server --one-off --daemon
for try in $(seq 100); do
  iperf3 --client 127.0.0.1 --time ${SECONDS} --json && exit
  sleep 0.1
done
exit 1`;

export const ROWS: readonly Row[] = [
  compute('CPU: a loop in C', 'loop', String(LOOP_C)),
  compute('CPU: a loop in perl', 'perl', '-e', `my $x = 1; for (1..${LOOP_SCRIPT}) { $x = ($x * 31 + $_) % 65537 }`),
  compute(
    'CPU: a loop in python',
    'python3',
    '-c',
    `x = 1\nfor i in range(${LOOP_SCRIPT}):\n  x = (x * 31 + i) % 65537`,
  ),
  task('sha256 of 200 MB', 'sh', '-c', 'head -c 200000000 /dev/zero | sha256sum'),
  task('200,000 system calls', 'system-calls', '200000'),
  task('100 forks and execs', 'forks', '100', '/bin/true'),
  task(`tar x of ${ARCHIVED_FILES} files`, 'tar', '-xf', ARCHIVE, '-C', WORK),
  fio(0),
  fio(1),
  {
    name: 'iperf3 over loopback, a MiB',
    unit: 'us',
    words: ['sh', '-c', IPERF3],
    read(output) {
      const [, bits] = /"sum_received":\s*{[^}]*"bits_per_second":\s*([\d.e+]+)/.exec(output) ?? [];
      return (2 ** 23 / Number(bits)) * 1e6;
    },
  },
];

/** The driver's arguments: all tasks. */
export const ALL_TASKS: readonly string[] = ROWS.flatMap(({ words }, index) => [
  ...(index > 0 ? ['--'] : []),
  ...words,
]);

/**
 * The value of each row, in the order of `ROWS`, from what the driver printed.
 * @throws Error if a task failed
 */
export function readValues(text: string): number[] {
  const parts = text.split(/\ntsvm-bench (\d+) (\d+)\n/);
  return ROWS.map(({ name, read }, index) => {
    const [output = '', code, nanoseconds] = parts.slice(index * 3, index * 3 + 3);
    const value = read === undefined ? Number(nanoseconds) / 1e6 : read(output);
    if (code === '0' && value > 0 && Number.isFinite(value)) return value;
    throw new Error(`${name}: exit code ${code}\n${output.slice(-2000)}`);
  });
}
