// A command in a sandbox: its output is kept up to a size, and it has a deadline.
import { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { GatheredBytes } from '../../bytes/index.js';
import { within } from '../../deadline/index.js';
import type { Container } from '../../sandbox/index.js';
import { wordsSchema } from '../records.js';

/** Bytes of each stream that are kept. */
export const MAX_OUTPUT = 2 ** 20;
/** Milliseconds that a command has to begin. */
export const START_TIMEOUT = 60_000;
/** Milliseconds that a killed command has to exit. */
const KILL_GRACE = 2_000;
const SIGKILL = 9;

export const commandSchema = z.strictObject({
  command: z.array(z.string().max(131_072)).min(1).max(1024).describe('The program and its arguments'),
  env: wordsSchema.default({}).describe("Set over the sandbox's variables"),
  cwd: z.string().min(1).max(4096).optional().describe("An absolute path. Default: the image's"),
  user: z.string().min(1).max(256).optional().describe("user[:group], names or numbers. Default: the image's"),
  stdin: z.string().optional().describe('The input. Default: none'),
  timeout: z
    .int()
    .min(1)
    .max(3_600_000)
    .default(60_000)
    .describe('Milliseconds from its begin after which the command is killed'),
});
export type CommandSpec = z.output<typeof commandSchema>;

export const commandResultSchema = z.object({
  exitCode: z.int().describe('128+n if signal n ended it'),
  stdout: z.string().describe('Bytes that are no UTF-8 are replaced by U+FFFD'),
  stderr: z.string(),
  truncated: z.boolean().describe(`True if a stream had more than ${MAX_OUTPUT} bytes: the rest is dropped`),
  timedOut: z.boolean().describe('True if it was killed for its timeout'),
});
export type CommandResult = z.output<typeof commandResultSchema>;

/** Keeps the first bytes that are written to it, and drops the others. */
class Kept extends Writable {
  readonly #kept = new GatheredBytes();
  isTruncated = false;

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    const rest = MAX_OUTPUT - this.#kept.length;
    if (chunk.length > rest) this.isTruncated = true;
    this.#kept.add(chunk.subarray(0, rest));
    done();
  }

  get text(): string {
    return this.#kept.bytes.toString('utf8');
  }
}

/**
 * Runs a command to its end.
 * @param signal ends it: its caller is gone
 * @throws SandboxError `not-running`, `not-found`, `cannot-invoke`, `bad-spec`, `unresponsive`,
 *   `machine-died`; the reason of `signal`, or a DOMException `TimeoutError` for a start that took
 *   longer than START_TIMEOUT
 */
export async function runCommand(
  container: Container,
  { command, env, cwd, user, stdin, timeout }: CommandSpec,
  signal: AbortSignal,
): Promise<CommandResult> {
  const [stdout, stderr] = [new Kept(), new Kept()];
  const input = stdin === undefined ? undefined : Readable.from([Buffer.from(stdin)]);
  const process = await container.exec(
    { command, env, cwd, user, stdin: input !== undefined },
    { stdin: input, stdout, stderr },
    { signal: within(START_TIMEOUT, signal) },
  );
  // Its timeout counts from here: how long a busy host takes to start it does not change what is
  // told.
  const limit = within(timeout);
  const both = AbortSignal.any([limit, signal]);
  const over = new AbortController();
  const killed = aborted(both, over.signal).then(async () => {
    process.signal(SIGKILL);
    await sleep(KILL_GRACE, undefined, { signal: over.signal, ref: false });
  });
  try {
    const exitCode = await Promise.race([process.exit, killed.then(() => 128 + SIGKILL)]);
    signal.throwIfAborted();
    const truncated = stdout.isTruncated || stderr.isTruncated;
    return { exitCode, stdout: stdout.text, stderr: stderr.text, truncated, timedOut: limit.aborted };
  } finally {
    over.abort();
    killed.catch(() => {});
    process.exit.catch(() => {});
    process.abandon();
  }
}

/** Resolves when `signal` is aborted, and never if `over` is first. */
function aborted(signal: AbortSignal, over: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true, signal: over });
  });
}
