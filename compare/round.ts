// One round of one level: a sandbox is started, weighed, measured from inside, and ended.
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../errors/index.js';
import { CompareError } from './errors.js';
import { FOLDER, GAUGE, type PreparedLevel } from './level.js';
import { CACHE, COMMAND, EXEC, MEMORY, type Measure, type Operation, START, usesFolder } from './measures.js';
import { descendantsOf, weigh } from './memory.js';
import { isPinned } from './pinning.js';
import { type Program, programUsesFolder } from './programs.js';
import { type Ended, end, run, SETTLE, startIdling, succeeded } from './running.js';

export interface RoundOptions {
  /** The id of the sandbox, which no other has. */
  id: string;
  operations: readonly Operation[];
  /** Milliseconds that each operation is repeated for, at least. */
  time: number;
  /** Programs of the image. */
  programs?: readonly Program[];
  /** The caller's command, and where it runs. */
  command?: readonly string[];
  folder: string;
  signal: AbortSignal;
  onSample(measure: Measure, value: number): void;
  /** A measure has no value here. */
  onNone(measure: Measure, reason: string): void;
  onOutput(text: string): void;
  /** The CPUs that the level is pinned to. */
  cpus?: readonly number[];
  /** A process of the level runs on others. */
  onLoose?(): void;
  /** Arguments of the probes. With them, only they run. */
  probe?: readonly string[];
  onProbed(text: string): void;
}

/** @throws CompareError if the level fails; the reason of `signal` */
export async function measureRound(level: PreparedLevel, options: RoundOptions): Promise<void> {
  const { id, signal, time, command, onSample, onNone } = options;
  const { operations, programs } = withoutFolder(level, options);
  try {
    await using idling = await startIdling(level.start(id, [GAUGE, 'idle']), signal, level.remove?.(id));
    if (options.probe !== undefined) {
      const first = descendantsOf(idling.pid).at(-1) ?? idling.pid;
      const probed = await run(level.exec(id, first, [GAUGE, 'probe', ...options.probe]), signal, idling);
      succeeded(probed);
      options.onProbed(probed.stdout);
      return;
    }
    onSample(START, idling.time);
    await sleep(SETTLE, undefined, { signal }).catch(() => signal.throwIfAborted());
    try {
      const { memory, cache } = weigh(idling.pid);
      onSample(MEMORY, memory);
      onSample(CACHE, cache);
    } catch (error) {
      for (const measure of [MEMORY, CACHE]) onNone(measure, messageOf(error));
    }
    const processes = [idling.pid, ...descendantsOf(idling.pid)];
    if (options.cpus !== undefined && !processes.every((pid) => isPinned(pid, options.cpus ?? []))) options.onLoose?.();
    const first = processes.at(-1) ?? idling.pid;
    const exec = (...words: readonly string[]) => run(level.exec(id, first, [GAUGE, ...words]), signal, idling);
    const entered = await exec('nothing');
    succeeded(entered);
    onSample(EXEC, entered.time);
    const measured = await exec('measure', String(time), FOLDER, ...operations.map(({ name }) => name));
    for (const operation of operations) {
      try {
        onSample(operation, readTurn(measured.stdout, operation) * operation.scale);
      } catch (error) {
        onNone(operation, messageOf(error));
      }
    }
    for (const program of programs) {
      const ended = await exec('run', '/', ...program.command);
      try {
        onSample(program, readCommand(ended, program.command).value);
      } catch (error) {
        onNone(program, messageOf(error));
      }
    }
    if (command !== undefined && command.length > 0) {
      const { value, output } = readCommand(await exec('run', options.folder, ...command), command);
      onSample(COMMAND, value);
      options.onOutput(output);
    }
  } finally {
    await end(level, id);
  }
}

/** What can be measured at a level that may have no folder of the host. */
function withoutFolder(
  { folderless }: PreparedLevel,
  { operations, programs = [], onNone }: RoundOptions,
): { operations: readonly Operation[]; programs: readonly Program[] } {
  if (folderless === undefined) return { operations, programs };
  for (const measure of [...operations.filter(usesFolder), ...programs.filter(programUsesFolder)]) {
    onNone(measure, folderless);
  }
  return {
    operations: operations.filter((each) => !usesFolder(each)),
    programs: programs.filter((each) => !programUsesFolder(each)),
  };
}

/** The nanoseconds of a turn. @throws CompareError `level` */
export function readTurn(stdout: string, { name }: Operation): number {
  const lines = stdout.split('\n').filter((line) => line.startsWith(`${name} `));
  const words = lines[0]?.slice(name.length + 1);
  if (words !== undefined && /^\d+\.\d+$/.test(words)) return Number(words);
  const why = words?.startsWith('failed: ') ? words.slice('failed: '.length) : undefined;
  throw new CompareError('level', why ?? `the gauge has not measured ${name}`);
}

/** The milliseconds of the caller's command, and its output. @throws CompareError `command`, `level` */
function readCommand(ended: Ended, [program = '']: readonly string[]): { value: number; output: string } {
  const [line, nanoseconds] = /\ntsvm-gauge: (\d+)\s*$/.exec(ended.stderr) ?? [];
  const stderr = line === undefined ? ended.stderr : ended.stderr.slice(0, -line.length);
  if (ended.code !== 0) {
    const why = stderr.trim().split('\n').at(-1) || `exit code ${ended.code}`;
    throw new CompareError('command', `the command ${program} failed: ${why}`);
  }
  if (nanoseconds === undefined) throw new CompareError('level', ended.why);
  return { value: Number(nanoseconds) / 1e6, output: ended.stdout };
}
