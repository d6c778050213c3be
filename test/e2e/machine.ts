// Where the product is tested: in the lab; on this machine with an emulated CPU, and by its KVM where that can run a
// stock kernel.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { inject } from 'vitest';
import { spawnInLab } from '../lab/client.js';

export const TSVM = fileURLToPath(new URL('../../bin/tsvm', import.meta.url));

/** Milliseconds. Longer than any run takes in the lab on a busy machine. */
const TIMEOUT = 540_000;

/** The images that `./quickstart --setup-only --test` makes. */
export const DEBIAN = 'debian:12';
export const PYTHON = 'python:3';

export interface RunningCommand {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  /** The exit code, 128+n for a command that signal n ended. */
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
  /** Default: nothing, and then its end. */
  stdin?: string | Buffer;
  /** Milliseconds. */
  timeout?: number;
}

/** A machine that tsvm runs on. Both have the same files, but for /tmp and /run. */
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
    // What nobody has begun to read when the process ends, Node throws away.
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
    const { exit, ...command } = spawnInLab(inject('lab'), argv, { env: { TSVM_HOME: inject('homes').lab, ...env } });
    const code = exit.then(({ exitCode, signal }) => toExitCode(exitCode, signal));
    // Who waits for it hears that the lab died; a test that has failed by then does not wait any more.
    code.catch(() => {});
    return { ...command, exit: code };
  },
};

function isKvmUsableHere(): boolean {
  try {
    return JSON.parse(execFileSync(TSVM, ['doctor', '--format', 'json'], { encoding: 'utf8' })).kvm.usable;
  } catch (error) {
    // Something else may be missing; that is another test's affair.
    const { stdout } = error as { stdout?: string };
    return stdout ? JSON.parse(stdout).kvm.usable : false;
  }
}

function here(accel: 'kvm' | 'tcg'): Machine {
  return {
    name: `this machine by ${accel}`,
    spawn: (argv, { env } = {}) =>
      spawnHere(argv, { env: { TSVM_HOME: inject('homes').here, TSVM_ACCEL: accel, ...env } }),
  };
}

/** Each kind of machine there is: for tests of what differs between them, which is processor, KVM and transport. */
export const machines: Machine[] = [lab, here('tcg'), ...(isKvmUsableHere() ? [here('kvm')] : [])];

/** The fastest of them: for tests of the command line, of containers and of the agent, which are the same on each. */
export const fastest: Machine[] = machines.slice(-1);

/** Whether all is emulated twice, and takes ten times as long. */
export function isLab(machine: Machine): boolean {
  return machine === lab;
}

/** Runs a command to its end. */
export async function run(
  machine: Machine,
  argv: string[],
  { stdin, env, timeout = TIMEOUT }: RunOptions = {},
): Promise<Result> {
  const command = machine.spawn(argv, env === undefined ? {} : { env });
  const timer = setTimeout(() => command.kill('SIGKILL'), timeout);
  command.stdin.on('error', () => {});
  command.stdin.end(stdin);
  try {
    const [stdout, stderr, code] = await Promise.all([text(command.stdout), text(command.stderr), command.exit]);
    return { code, stdout, stderr };
  } finally {
    clearTimeout(timer);
  }
}

/** Runs `tsvm run --rm` with the words after it. */
export function tsvmRun(machine: Machine, words: string[], options?: RunOptions): Promise<Result> {
  return run(machine, [TSVM, 'run', '--rm', ...words], options);
}

async function text(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** Reads a stream until it has said `wanted`; the text so far. */
export async function readUntil(stream: Readable, wanted: string | ((said: string) => boolean)): Promise<string> {
  let said = '';
  stream.setEncoding('utf8');
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    said += chunk;
    if (typeof wanted === 'string' ? said.includes(wanted) : wanted(said)) return said;
  }
  throw new Error(`'${wanted}' was never said, but: ${said}`);
}
