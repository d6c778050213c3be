// Runs tools of the agent (guest-agent/PROTOCOL.md, "Tools") in a container, whether it runs or
// not.
import { randomInt } from 'node:crypto';
import { type Readable, Writable } from 'node:stream';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from '../home/container-folder.js';
import { keepsLayer, type Supervised, Supervision } from '../supervision/supervision.js';
import { execProcess } from './exec.js';

const SIGKILL = 9;
/** The most characters of an error message of a tool. */
const MAX_COMPLAINT = 4096;
/** The most bytes of an answer in memory. */
const MAX_ANSWER = 256 * 1024 * 1024;

export interface ToolIo {
  stdin?: Readable;
  stdout?: Writable;
  signal?: AbortSignal;
}

/**
 * Runs a tool to its end.
 * @throws SandboxError `not-running`; `no-such-file` or `tool` with the message of the tool
 */
export async function runTool(folder: ContainerFolder, argv: readonly string[], io: ToolIo = {}): Promise<void> {
  let complaint = '';
  const stderr = new Writable({
    write(chunk: Buffer, _encoding, done) {
      complaint = (complaint + chunk.toString()).slice(0, MAX_COMPLAINT);
      done();
    },
  });
  const stdout = io.stdout ?? new Writable({ write: (_chunk, _encoding, done) => done() });
  const tool = await execProcess(
    folder,
    { id: randomInt(1, 2 ** 32), argv: [...argv], tool: true, stdin: io.stdin !== undefined },
    { stdout, stderr, ...(io.stdin !== undefined && { stdin: io.stdin }) },
  );
  const stop = () => tool.signal(SIGKILL);
  io.signal?.addEventListener('abort', stop, { once: true });
  if (io.signal?.aborted) stop();
  try {
    const code = await tool.exit;
    io.signal?.throwIfAborted();
    if (code !== 0) throw toolError(complaint, code);
  } finally {
    io.signal?.removeEventListener('abort', stop);
  }
}

/**
 * Runs a tool and returns its output.
 * @throws SandboxError as `runTool`; `agent` if the output is too long
 */
export async function askTool(folder: ContainerFolder, ...argv: string[]): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, done) {
      length += chunk.length;
      if (length <= MAX_ANSWER) chunks.push(chunk);
      done();
    },
  });
  await runTool(folder, argv, { stdout });
  if (length > MAX_ANSWER) throw new SandboxError('agent', `the guest's answer is longer than ${MAX_ANSWER} bytes`);
  return Buffer.concat(chunks);
}

/**
 * Splits an answer into its fields, each of which ends with a NUL. Names are bytes: invalid UTF-8
 * is replaced.
 */
export function splitAnswer(answer: Buffer): string[] {
  return answer.toString().split('\0').slice(0, -1);
}

/**
 * Runs `act` with the agent of a container. A container that does not run is booted, without
 * anything of the image, and shut down again.
 * @throws SandboxError `bad-spec` for a container that keeps no files unless it runs; `running` if
 *   it is just being started
 */
export async function withGuest<T>(container: Supervised, act: () => Promise<T>): Promise<T> {
  const { folder, config } = container;
  if (folder.state().sockets !== undefined) return act();
  if (!keepsLayer(config)) {
    throw new SandboxError(
      'bad-spec',
      `container ${folder.shortId} has no files while it does not run (--rm, --read-only)`,
    );
  }
  const supervision = new Supervision(container, { filesOnly: true });
  const ended = supervision.exit.then(
    () => new SandboxError('machine-died', 'the container was lost'),
    (error: unknown) => error,
  );
  const failed = ended.then((error) => {
    throw error;
  });
  failed.catch(() => {});
  try {
    await Promise.race([supervision.started, failed]);
    return await Promise.race([act(), failed]);
  } finally {
    supervision.signal(SIGKILL);
    await ended;
  }
}

function toolError(complaint: string, code: number): SandboxError {
  const line = complaint.trim().split('\n').at(-1) ?? '';
  // The guest wrote the message, and it is shown on a terminal.
  const message = line.replace(/[^\x20-\x7e\u00a0-\uffff]+/g, ' ') || `the guest's tool ended with code ${code}`;
  return new SandboxError(
    /: (No such file or directory|Not a directory)$/.test(line) ? 'no-such-file' : 'tool',
    message,
  );
}
