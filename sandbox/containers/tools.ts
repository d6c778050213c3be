// Runs tools of the agent (guest-agent/PROTOCOL.md, "Tools") in a container, whether it runs or
// not.
import { type Readable, Writable } from 'node:stream';
import { GatheredBytes } from '../../bytes/index.js';
import { unlessAborted } from '../abort.js';
import { REQUEST_TIMEOUT } from '../agent/responsiveness.js';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from '../home/container-folder.js';
import { hasLayerDisk } from '../home/container-record.js';
import { randomNumber } from '../random-number.js';
import type { Supervised } from '../supervision/supervision.js';
import { execProcess } from './exec.js';

const SIGKILL = 9;
/** The most characters of an error message of a tool. */
const MAX_COMPLAINT = 4096;
/** The most bytes of all answers of a container that are in memory at once. */
const MAX_ANSWERS = 256 * 1024 * 1024;

export interface ToolIo {
  stdin?: Readable | undefined;
  stdout?: Writable | undefined;
  signal?: AbortSignal | undefined;
  /** If true, the tool waits for something to happen: there is no deadline after its start. */
  waits?: boolean | undefined;
}

/**
 * Runs a tool to its end. The guest has `REQUEST_TIMEOUT` to start it, and as long for each further
 * byte.
 * @throws SandboxError `not-running`, `unresponsive`; `no-such-file` or `tool` with the message of
 *   the tool; the reason of `io.signal`
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
    { id: randomNumber(1, 2 ** 32), argv: [...argv], tool: true, stdin: io.stdin !== undefined },
    { stdout, stderr, ...(io.stdin !== undefined && { stdin: io.stdin }) },
    { signal: io.signal, ...(!io.waits && { idleTimeout: REQUEST_TIMEOUT }) },
  );
  try {
    const code = await unlessAborted(tool.exit, io.signal);
    if (code !== 0) throw toolError(complaint, code);
  } catch (error) {
    tool.signal(SIGKILL);
    tool.abandon();
    throw error;
  }
}

/** Bytes of the answers in memory, by the container's ID. */
const answers = new Map<string, number>();

/**
 * Runs a tool and returns its output.
 * @throws SandboxError as `runTool`; `output` if the answers of the container become too long
 */
export async function askTool(
  { folder, signal }: { folder: ContainerFolder; signal?: AbortSignal | undefined },
  ...argv: string[]
): Promise<Buffer> {
  const answer = new GatheredBytes();
  const full = new AbortController();
  const count = (bytes: number) => {
    const total = (answers.get(folder.id) ?? 0) + bytes;
    if (total > 0) answers.set(folder.id, total);
    else answers.delete(folder.id);
    return total;
  };
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, done) {
      if (!full.signal.aborted) {
        answer.add(chunk);
        if (count(chunk.length) > MAX_ANSWERS) full.abort(tooLong());
      }
      done();
    },
  });
  const signals = signal === undefined ? [full.signal] : [full.signal, signal];
  try {
    await runTool(folder, argv, { stdout, signal: AbortSignal.any(signals) });
    return answer.bytes;
  } finally {
    count(-answer.length);
  }
}

function tooLong(): SandboxError {
  return new SandboxError('output', `the guest's answers are longer than ${MAX_ANSWERS} bytes`);
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
  if (!hasLayerDisk(config)) {
    throw new SandboxError(
      'bad-spec',
      `container ${folder.shortId} has no files while it does not run (--disk memory, --read-only)`,
    );
  }
  const { Supervision } = await import('../supervision/supervision.js');
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
    // The guest writes its disk out, or is killed if it does not answer.
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
