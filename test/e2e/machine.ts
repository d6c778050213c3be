// The machines that end-to-end tests run on: the lab, this machine with an emulated CPU or with
// User-Mode Linux, and this machine's KVM if it can run a stock kernel.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { inject } from 'vitest';
import { spawnInLab } from '../lab/client.js';

export const TSVM = fileURLToPath(new URL('../../bin/tsvm', import.meta.url));

/** Default timeout in milliseconds: longer than any run takes in the lab on a busy machine. */
const TIMEOUT = 540_000;

/** The images that `./quickstart --setup-only --test` makes. */
export const DEBIAN = 'debian:12';
export const PYTHON = 'python:3';

export interface RunningCommand {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  /** The exit code: 128+n if signal n ended the command. */
  exit: Promise<number>;
  kill(signal: NodeJS.Signals): void;
}

export interface Result {
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  env?: Record<string, string>;
  /** Default: empty. */
  stdin?: string | Buffer;
  /** Milliseconds. Default: `TIMEOUT`. */
  timeout?: number;
}

/** A machine that tsvm runs on. All have the same files, except /tmp, /run and /dev/shm. */
export interface Machine {
  name: string;
  spawn(argv: string[], options?: { env?: Record<string, string> }): RunningCommand;
}

function spawnHere(
  [program = '', ...words]: string[],
  { env = {} }: { env?: Record<string, string> } = {},
): RunningCommand {
  const child: ChildProcess = spawn(program, words, { env: { ...process.env, ...env } });
  const exit = once(child, 'close').then(([code, signal]) => toExitCode(code, signal));
  return {
    stdin: child.stdin!,
    // Node discards output that is unread when the process ends: the PassThrough keeps it.
    stdout: child.stdout!.pipe(new PassThrough()),
    stderr: child.stderr!.pipe(new PassThrough()),
    exit,
    kill: (signal) => child.kill(signal),
  };
}

function toExitCode(code: number | null, signal: NodeJS.Signals | null): number {
  return code ?? 128 + { SIGKILL: 9, SIGTERM: 15, SIGINT: 2 }[signal as string]!;
}

const lab: Machine = {
  name: 'the lab',
  spawn(argv, { env = {} } = {}) {
    const { TSVM_TEMPLATES_SIZE = '0' } = process.env;
    const own = { TSVM_HOME: inject('homes').lab, TSVM_TEMPLATES_SIZE, ...env };
    const { exit, ...command } = spawnInLab(inject('lab'), argv, { env: own });
    const code = exit.then(({ exitCode, signal }) => toExitCode(exitCode, signal));
    // A caller that awaits `exit` learns that the lab died. A test that failed earlier no longer
    // awaits it: without this handler the rejection would be unhandled.
    code.catch(() => {});
    return { ...command, exit: code };
  },
};

function here(accel: 'kvm' | 'tcg' | 'uml'): Machine {
  return {
    name: `this machine by ${accel}`,
    spawn: (argv, { env } = {}) =>
      spawnHere(argv, { env: { TSVM_HOME: inject('homes').here, TSVM_ACCEL: accel, ...env } }),
  };
}

const [tcg, kvm] = [here('tcg'), here('kvm')];

/** User-Mode Linux. */
export const uml = here('uml');

const hasKvm = inject('hasKvm');

/** Every machine: for tests of what differs between them, which is CPU, KVM and transport. */
export const machines: readonly Machine[] = [lab, tcg, ...(hasKvm ? [kvm] : []), uml];

/** The fastest machine here: for tests of what is the same on each (CLI, containers, agent). */
export const fastest: readonly Machine[] = [hasKvm ? kvm : uml];

/** The fastest machine here that runs a kernel for a processor, which User-Mode Linux does not. */
export const fastestProcessor: readonly Machine[] = [hasKvm ? kvm : tcg];

/** The accelerator of that machine, for tests that call tsvm themselves. */
export const accelerator = hasKvm ? 'kvm' : 'tcg';

/**
 * The fastest machine, and User-Mode Linux: for real software, and whatever depends on how a kernel
 * switches between programs, as User-Mode Linux does that by other means.
 */
export const fastestAndUml: readonly Machine[] = [...new Set([...fastest, uml])];

/** Whether `machine` is the lab, where a guest is emulated twice and takes ten times as long. */
export function isLab(machine: Machine): boolean {
  return machine === lab;
}

/** Whether `machine` is User-Mode Linux, which refuses what it cannot do: docs/uml.md. */
export function isUml(machine: Machine): boolean {
  return machine === uml;
}

/** Runs a command until it ends. Throws if that takes longer than `timeout`. */
export async function run(
  machine: Machine,
  argv: string[],
  { stdin, env, timeout = TIMEOUT }: RunOptions = {},
): Promise<Result> {
  const command = machine.spawn(argv, env === undefined ? {} : { env });
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    command.kill('SIGKILL');
  }, timeout);
  command.stdin.on('error', () => {});
  command.stdin.end(stdin);
  try {
    const [stdout, stderr, code] = await Promise.all([text(command.stdout), text(command.stderr), command.exit]);
    if (isLate) throw new Error(`${argv.join(' ')}: no end after ${timeout} ms: ${stdout}${stderr}`);
    return { code, stdout, stderr };
  } finally {
    clearTimeout(timer);
  }
}

/** Runs `tsvm run --rm` with these arguments. */
export function tsvmRun(machine: Machine, words: string[], options?: RunOptions): Promise<Result> {
  return run(machine, [TSVM, 'run', '--rm', ...words], options);
}

async function text(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** Reads a stream until its text contains or satisfies `wanted`. Returns the text so far. */
export async function readUntil(stream: Readable, wanted: string | ((said: string) => boolean)): Promise<string> {
  let said = '';
  stream.setEncoding('utf8');
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    said += chunk;
    if (typeof wanted === 'string' ? said.includes(wanted) : wanted(said)) return said;
  }
  throw new Error(`'${wanted}' was never said, but: ${said}`);
}
