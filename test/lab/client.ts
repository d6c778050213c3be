// Runs commands in a running lab, over its socket: like spawning a process, but on the lab's
// machine.
import { createConnection } from 'node:net';
import { constants } from 'node:os';
import { PassThrough, Readable, Writable } from 'node:stream';
import { encodeCommand, encodeFrame, FrameReader, FrameType, STDIN_WINDOW } from './frames.js';

export interface LabCommandOptions {
  /** Default: this process's working directory, which also exists in the lab. */
  cwd?: string;
  /** Added to the lab's own environment (PATH, HOME, ...). */
  env?: Record<string, string>;
  /** Aborting it kills the command and its process group. */
  signal?: AbortSignal;
}

export interface LabExit {
  /** Null if a signal ended the command. */
  exitCode: number | null;
  signal: NodeJS.Signals | null;
}

export interface LabResult extends LabExit {
  stdout: Buffer;
  stderr: Buffer;
}

export interface LabProcess {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  /** Resolves when the command has ended. Rejects if the lab ends before the command. */
  exit: Promise<LabExit>;
  kill(signal?: NodeJS.Signals): void;
}

function decodeStatus(status: number): LabExit {
  const number = status & 0x7f;
  if (number === 0) return { exitCode: (status >> 8) & 0xff, signal: null };
  const name = Object.entries(constants.signals).find(([, value]) => value === number)?.[0];
  return { exitCode: null, signal: (name ?? `SIG${number}`) as NodeJS.Signals };
}

/** The environment of a command: the tools of the host, and folders that are not on 9p. */
function environment(): Record<string, string> {
  const { PATH = '/usr/sbin:/usr/bin:/sbin:/bin', HOME = '/root', LANG = 'C.UTF-8', TSVM_KERNEL_CACHE } = process.env;
  return {
    PATH,
    HOME,
    LANG,
    TERM: 'xterm-256color',
    XDG_RUNTIME_DIR: '/run/user/0',
    ...(TSVM_KERNEL_CACHE === undefined ? {} : { TSVM_KERNEL_CACHE }),
  };
}

/** Starts `argv` in the lab that listens at `socketPath`. */
export function spawnInLab(socketPath: string, argv: readonly string[], options: LabCommandOptions = {}): LabProcess {
  const socket = createConnection(socketPath);
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  let credit = STDIN_WINDOW;
  let onCredit = () => {};
  const send = (type: number, payload?: Uint8Array) => {
    // A command that has ended takes no more input, like a pipe without a reader.
    if (socket.writable) socket.write(encodeFrame(type, payload));
  };
  const stdin = new Writable({
    highWaterMark: STDIN_WINDOW,
    write(chunk: Buffer, encoding, done) {
      const piece = chunk.subarray(0, credit);
      credit -= piece.length;
      if (piece.length > 0) send(FrameType.stdin, piece);
      if (piece.length === chunk.length) done();
      else onCredit = () => this._write(chunk.subarray(piece.length), encoding, done);
    },
    final(done) {
      send(FrameType.stdinEnd);
      done();
    },
  });
  const kill = (signal: NodeJS.Signals = 'SIGTERM') => {
    const payload = Buffer.alloc(4);
    payload.writeInt32LE(constants.signals[signal]);
    send(FrameType.kill, payload);
  };
  options.signal?.addEventListener('abort', () => send(FrameType.abort), { once: true });

  const exit = new Promise<LabExit>((resolve, reject) => {
    const reader = new FrameReader();
    let ended = false;
    socket.on('data', (chunk: Buffer) => {
      for (const { type, payload } of reader.push(chunk)) {
        if (type === FrameType.exit) {
          ended = true;
          resolve(decodeStatus(payload.readUInt32LE(0)));
          socket.end();
        }
        if (type === FrameType.credit) {
          credit += payload.readUInt32LE(0);
          const next = onCredit;
          onCredit = () => {};
          next();
        }
        const stream = type === FrameType.stdout ? stdout : type === FrameType.stderr ? stderr : undefined;
        if (stream !== undefined && !stream.write(payload)) {
          socket.pause();
          stream.once('drain', () => socket.resume());
        }
      }
    });
    socket.on('error', reject);
    socket.on('close', () => {
      stdout.end();
      stderr.end();
      stdin.destroy();
      if (!ended) reject(new Error('the lab went away'));
    });
  });
  const env = { ...environment(), ...options.env };
  socket.write(encodeFrame(FrameType.start, encodeCommand(options.cwd ?? process.cwd(), argv, env)));
  return { stdin, stdout, stderr, exit, kill };
}

async function collect(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

export interface LabRunOptions extends LabCommandOptions {
  stdin?: Buffer | string | Readable;
  /** `ms` after which the command is killed and the call rejects. */
  timeout?: number;
}

/** Runs `argv` to its end in the lab that listens at `socketPath`. */
export async function runInLab(
  socketPath: string,
  argv: readonly string[],
  { stdin, timeout, ...options }: LabRunOptions = {},
): Promise<LabResult> {
  const late = timeout === undefined ? undefined : AbortSignal.timeout(timeout);
  const signals = [options.signal, late].filter((signal) => signal !== undefined);
  const command = spawnInLab(socketPath, argv, { ...options, signal: AbortSignal.any(signals) });
  command.stdin.on('error', () => {});
  if (stdin instanceof Readable) stdin.pipe(command.stdin);
  else command.stdin.end(stdin);
  const [stdout, stderr, exit] = await Promise.all([collect(command.stdout), collect(command.stderr), command.exit]);
  if (late?.aborted) throw new Error(`no end after ${timeout} ms in the lab: ${argv.join(' ')}\n${stdout}\n${stderr}`);
  return { ...exit, stdout, stderr };
}
