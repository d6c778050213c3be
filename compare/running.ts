// Programs of the host that a level starts: a sandbox that stays, and commands that end. Each is in a
// session of its own, so that a signal of the terminal does not reach it, and ends with the caller.
import { type ChildProcess, spawn } from 'node:child_process';
import { within } from '../deadline/index.js';
import { CompareError } from './errors.js';
import type { CommandLine, PreparedLevel } from './level.js';
import { descendantsOf } from './memory.js';
import { startPinned } from './pinning.js';

/** Milliseconds until memory that only the start needed is freed. */
export const SETTLE = 300;
/** Characters of each stream that are kept. */
const KEPT = 2 ** 16;
/**
 * Milliseconds that a sandbox has to start, and any command has to end, unless it says otherwise.
 */
const PATIENCE = 300_000;
/** Milliseconds that a sandbox has to end after SIGTERM. */
const GRACE = 10_000;
/** Milliseconds after a program's end until what holds its streams is ended. */
const STREAMS = 1000;
/** Milliseconds that the removal of a sandbox may take. */
const REMOVAL = 30_000;
/** What the gauge says when all is well. */
const SAID = /^(ready|done( \d+)?)$/;

export interface Ended {
  /** Milliseconds from the start of the program to its end. */
  time: number;
  /** The exit code, or null if a signal ended the program. */
  code: number | null;
  /** The last characters of each stream. */
  stdout: string;
  stderr: string;
  /** If it has failed: why, in a line. */
  why: string;
}

function start({ words: [program, ...words], env, cpus }: CommandLine): ChildProcess {
  const child = startPinned(cpus, () =>
    spawn(program, words, { env, stdio: ['pipe', 'pipe', 'pipe'], detached: true }),
  );
  // An ended pipe is stdin: gVisor's runsc gives the file of its stdin to a user of its own, and the
  // host's /dev/null would belong to that user.
  child.stdin?.end();
  return child;
}

function collect(child: ChildProcess): { stdout: string; stderr: string } {
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.on('data', (chunk: Buffer) => {
      text[name] = (text[name] + chunk.toString()).slice(-KEPT);
    });
  }
  return text;
}

/**
 * Kills a program and all that it has started. What escapes may hold its streams: they are closed, so
 * that nobody waits for their end.
 */
function killAll({ pid, stdout, stderr }: ChildProcess): void {
  if (pid === undefined) return;
  // The group is killed at once: a process that it forks meanwhile is in no list.
  for (const each of [...descendantsOf(pid), -pid]) {
    try {
      process.kill(each, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
  stdout?.destroy();
  stderr?.destroy();
}

/** Runs a program to its end. @throws CompareError; the reason of `signal` */
export async function run(command: CommandLine, signal: AbortSignal, sandbox?: Pick<Idling, 'watch'>): Promise<Ended> {
  signal.throwIfAborted();
  const began = performance.now();
  const child = start(command);
  using _watched = sandbox?.watch(child.pid ?? 0);
  const text = collect(child);
  let late = false;
  const kill = () => killAll(child);
  const { patience = PATIENCE } = command;
  const timer = setTimeout(() => {
    late = true;
    kill();
  }, patience);
  signal.addEventListener('abort', kill, { once: true });
  try {
    const [code, time] = await new Promise<[number | null, number]>((resolve, reject) => {
      child.once('error', (cause) => reject(new CompareError('level', cause.message, { cause })));
      child.once('close', (status) => resolve([status, performance.now() - began]));
    });
    signal.throwIfAborted();
    if (late) throw new CompareError('level', `${command.words[0]} has not ended within ${patience / 1000} s`);
    return { code, time, ...text, why: whyEnded(text, code, command.failure) };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', kill);
  }
}

/**
 * Ends a sandbox and removes what it leaves if this process is killed: a shell waits for the end of its
 * input, which is with this process. $1 is the sandbox's program, the rest a command. A line of its
 * input is the group of the command that runs in the sandbox, or 0: a level without a wall does not end
 * it with the sandbox.
 */
const GUARD = `group=0
while read -r line; do [ "$line" != end ] || exit; group=$line; done
[ "$group" = 0 ] || kill -TERM "-$group" 2>/dev/null
kill -TERM "$1" 2>/dev/null; turn=0
while { kill -0 "$1" || { [ "$group" != 0 ] && kill -0 "-$group"; }; } 2>/dev/null && [ $turn -lt 50 ]; do
  turn=$((turn + 1)); sleep 0.1
done
[ "$group" = 0 ] || kill -KILL "-$group" 2>/dev/null
kill -KILL "$1" 2>/dev/null
shift
[ $# -eq 0 ] || exec "$@"`;

interface Guard extends Disposable {
  /** Ends the group of a process too, until the result is disposed of. One at a time. */
  watch(pid: number): Disposable;
}

/** Disposal ends the guard, and leaves the sandbox. */
function guard(pid: number, remove: CommandLine | undefined): Guard {
  const words = ['-c', GUARD, 'sh', String(pid), ...(remove?.words ?? [])];
  const env = remove?.env ?? { PATH: process.env.PATH };
  const shell = spawn('sh', words, { env, stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  for (const each of [shell, shell.stdin]) each?.on('error', () => {});
  const tell = (group: number) => shell.stdin?.write(`${group}\n`);
  return {
    watch(group) {
      tell(group);
      return { [Symbol.dispose]: () => void tell(0) };
    },
    [Symbol.dispose]() {
      shell.stdin?.end('end\n');
    },
  };
}

/** A sandbox whose first process idles. Disposal ends it. */
export interface Idling extends AsyncDisposable {
  /** Milliseconds from the start of the program to the first output of the sandbox. */
  time: number;
  /** The program that was started. */
  pid: number;
  /**
   * Returns its output when that has a text.
   * @param patience milliseconds
   * @throws CompareError if it ends before, or takes longer; the reason of `signal`
   */
  says(words: string, patience: number, signal: AbortSignal): Promise<string>;
  /** See `Guard`. */
  watch(pid: number): Disposable;
}

/**
 * Starts a sandbox whose command says `ready`.
 * @param remove removes what the sandbox leaves if this process is killed
 * @throws CompareError; the reason of `signal`
 */
export async function startIdling(command: CommandLine, signal: AbortSignal, remove?: CommandLine): Promise<Idling> {
  signal.throwIfAborted();
  const began = performance.now();
  const child = start(command);
  const text = collect(child);
  let isClosed = false;
  const closed = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  }).then(() => {
    isClosed = true;
  });
  const guarded = child.pid === undefined ? undefined : guard(child.pid, remove);
  void closed.then(() => guarded?.[Symbol.dispose]());
  const end = async () => {
    if (child.pid === undefined || isClosed) return;
    const killWithin = (time: number) => setTimeout(() => killAll(child), time);
    let timer = killWithin(signal.aborted ? GRACE / 5 : GRACE);
    const hurry = () => {
      clearTimeout(timer);
      timer = killWithin(STREAMS);
    };
    if (child.kill('SIGTERM')) child.once('exit', hurry);
    else hurry();
    await closed;
    clearTimeout(timer);
  };
  const says = async (words: string, { what, patience }: { what: string; patience: number }, until: AbortSignal) => {
    const end = within(patience, until);
    let abort = () => {};
    try {
      await new Promise<void>((resolve, reject) => {
        const late = new CompareError('level', `it has not ${what} within ${patience / 1000} s`);
        abort = () => reject(until.aborted ? until.reason : late);
        end.addEventListener('abort', abort, { once: true });
        if (end.aborted) abort();
        child.once('error', (cause) => reject(new CompareError('level', cause.message, { cause })));
        const look = () => {
          if (text.stdout.includes(words)) resolve();
        };
        child.stdout?.on('data', look);
        look();
        if (child.exitCode !== null || child.signalCode !== null) {
          reject(new CompareError('level', whyEnded(text, child.exitCode, command.failure)));
        }
        child.once('close', (code) => reject(new CompareError('level', whyEnded(text, code, command.failure))));
      });
      return text.stdout;
    } finally {
      end.removeEventListener('abort', abort);
    }
  };
  try {
    await says('ready', { what: 'started', patience: command.patience ?? PATIENCE }, signal);
    return {
      time: performance.now() - began,
      pid: child.pid ?? 0,
      says: (words, patience, until) => says(words, { what: 'done its work', patience }, until),
      watch: (pid) => guarded?.watch(pid) ?? { [Symbol.dispose]() {} },
      [Symbol.asyncDispose]: end,
    };
  } catch (error) {
    await end();
    throw error;
  }
}

/** Removes what the end of a sandbox has left. */
export async function end(level: PreparedLevel, id: string): Promise<void> {
  const left = level.remove?.(id);
  if (left !== undefined) await run(left, AbortSignal.timeout(REMOVAL)).catch(() => {});
}

/** The line of a program that says why it ended: the last one, unless `failure` tells another. */
function whyEnded(
  { stdout, stderr }: { stdout: string; stderr: string },
  code: number | null,
  failure?: RegExp,
): string {
  const [, told] = (failure && new RegExp(failure, 'm').exec(`${stderr}\n${stdout}`)) ?? [];
  if (told !== undefined) return told.trim();
  const lines = `${stdout}\n${stderr}`.split('\n').map((line) => line.trim());
  return (
    lines.filter((line) => line !== '' && !SAID.test(line)).at(-1) ??
    `it ended with ${code === null ? 'a signal' : `code ${code}`}`
  );
}

/** @throws CompareError `level` if a program has failed */
export function succeeded(ended: Ended): void {
  if (ended.code !== 0) throw new CompareError('level', ended.why);
}
