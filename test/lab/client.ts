// Runs commands in a lab that is up, over its socket: like spawning a process, but on the other machine.
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { constants } from 'node:os';
import { PassThrough, Readable, Writable } from 'node:stream';
import { encodeCommand, encodeFrame, FrameReader, FrameType } from './frames.js';

export interface LabCommandOptions {
  /** Default: this process's working directory, which the lab has too. */
  cwd?: string;
  /** Added to the lab's own environment (PATH, HOME, ...). */
  env?: Record<string, string>;
  /** Kills the command. */
  signal?: AbortSignal;
}

export interface LabExit {
  /** Null when a signal ended the command. */
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
  /** Rejects if the lab went away before the command ended. */
  exit: Promise<LabExit>;
  kill(signal?: NodeJS.Signals): void;
}

const CHUNK = 64 * 1024;

function decodeStatus(status: number): LabExit {
  const number = status & 0x7f;
  if (number === 0) return { exitCode: (status >> 8) & 0xff, signal: null };
  const name = Object.entries(constants.signals).find(([, value]) => value === number)?.[0];
  return { exitCode: null, signal: (name ?? `SIG${number}`) as NodeJS.Signals };
}

/** What a command finds in its environment: the tools of this machine, and folders that are not on 9p. */
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

/** Starts `argv` in the lab behind `socketPath`. */
export function spawnInLab(socketPath: string, argv: readonly string[], options: LabCommandOptions = {}): LabProcess {
  const socket = createConnection(socketPath);
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const write = (frame: Buffer, done: (error?: Error | null) => void) => {
    // The command is over, as a broken pipe would say; or the write is waited for.
    if (socket.destroyed || socket.writableEnded) done();
    else socket.write(frame, () => done());
  };
  const stdin = new Writable({
    highWaterMark: CHUNK,
    write(chunk: Buffer, _encoding, done) {
      const pieces: Buffer[] = [];
      for (let at = 0; at < chunk.length; at += CHUNK) {
        pieces.push(encodeFrame(FrameType.stdin, chunk.subarray(at, at + CHUNK)));
      }
      write(Buffer.concat(pieces), done);
    },
    final(done) {
      write(encodeFrame(FrameType.stdinEnd), done);
    },
  });
  const kill = (signal: NodeJS.Signals = 'SIGTERM') => {
    const payload = Buffer.alloc(4);
    payload.writeInt32LE(constants.signals[signal]);
    if (!socket.destroyed) socket.write(encodeFrame(FrameType.kill, payload));
  };
  options.signal?.addEventListener('abort', () => kill('SIGKILL'), { once: true });

  const exit = new Promise<LabExit>((resolve, reject) => {
    const reader = new FrameReader();
    let ended = false;
    socket.on('data', async (chunk: Buffer) => {
      for (const { type, payload } of reader.push(chunk)) {
        if (type === FrameType.exit) {
          ended = true;
          resolve(decodeStatus(payload.readUInt32LE(0)));
          socket.end();
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
  /** Milliseconds after which the command is killed and the call rejects. */
  timeout?: number;
}

/** Runs `argv` in the lab to its end. */
export async function runInLab(
  socketPath: string,
  argv: readonly string[],
  { stdin, timeout, ...options }: LabRunOptions = {},
): Promise<LabResult> {
  const command = spawnInLab(socketPath, argv, options);
  let late = false;
  const timer = setTimeout(
    () => {
      late = true;
      command.kill('SIGKILL');
    },
    timeout ?? 2 ** 31 - 1,
  );
  try {
    command.stdin.on('error', () => {});
    if (stdin instanceof Readable) stdin.pipe(command.stdin);
    else command.stdin.end(stdin);
    const [stdout, stderr, exit] = await Promise.all([collect(command.stdout), collect(command.stderr), command.exit]);
    if (late) throw new Error(`no end after ${timeout} ms in the lab: ${argv.join(' ')}\n${stdout}\n${stderr}`);
    return { ...exit, stdout, stderr };
  } finally {
    clearTimeout(timer);
  }
}

/** Whether a lab answers behind `socketPath`. */
export async function isLabUp(socketPath: string): Promise<boolean> {
  const socket = createConnection(socketPath);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
