// A container in the foreground: the caller's streams, terminal and signals are its own.
import {
  type Attachment,
  attachTerminal,
  type Container,
  type ContainerIo,
  type Foreground,
  forwardSignals,
  SandboxError,
  terminalSize,
} from '../sandbox/index.js';
import { type DetachKeys, watchForKeys } from './detach-keys.js';

export interface ForegroundOptions {
  /** The process has a terminal. */
  terminal: boolean;
  /** The caller's stdin is the process's. */
  stdin: boolean;
  /** Default: yes. */
  signals?: boolean;
}

/** The caller's streams. */
export function callerIo(stdin: boolean): ContainerIo {
  return {
    stdin: stdin ? process.stdin : undefined,
    stdout: process.stdout,
    stderr: process.stderr,
    terminalSize: terminalSize(process.stdout),
  };
}

/** Waits for the end of a process in the foreground. */
export async function inForeground(
  process: Foreground,
  exit: Promise<number>,
  { terminal, stdin, signals = true }: ForegroundOptions,
): Promise<number> {
  using _signals = signals ? forwardSignals(process) : undefined;
  using _terminal = terminal
    ? attachTerminal(process, stdin ? globalThis.process.stdin : undefined, globalThis.process.stdout)
    : undefined;
  return await exit;
}

/** Why an attachment ended that left its container alone. */
export class Detached extends SandboxError {
  constructor() {
    super('aborted', 'detached');
  }
}

export interface AttachOptions {
  stdin: boolean;
  signals?: boolean;
  keys?: DetachKeys;
}

/** Attaches the caller to a container; its exit code, or 0 when the caller left it. */
export async function attachCaller(container: Container, { stdin, signals, keys }: AttachOptions): Promise<number> {
  return follow(await openAttachment(container, stdin, keys), stdin, signals);
}

/** Starts a container with the caller attached from its first byte on; its exit code. */
export async function startAttached(container: Container, stdin: boolean, keys?: DetachKeys): Promise<number> {
  let followed: Promise<number> | undefined;
  const started = container.start({
    onListening: async () => {
      const attachment = await openAttachment(container, stdin, keys);
      followed = follow(attachment, stdin, true, started);
      followed.catch(() => {});
    },
  });
  await started;
  return followed!;
}

async function openAttachment(container: Container, stdin: boolean, keys?: DetachKeys): Promise<Attachment> {
  const io = callerIo(stdin);
  if (container.config.spec.terminal && io.stdin !== undefined && keys !== undefined) {
    const input = watchForKeys(io.stdin, keys, () => attachment.detach(new Detached()));
    const attachment = await container.attach({ ...io, stdin: input });
    return attachment;
  }
  return container.attach(io);
}

async function follow(attachment: Attachment, stdin: boolean, signals = true, started = Promise.resolve()) {
  const foreground: Foreground = {
    started,
    get outputChunks() {
      return attachment.outputChunks;
    },
    signal: (signal) => attachment.signal(signal),
    resize: (size) => attachment.resize(size),
    abort: (error) => attachment.detach(error),
  };
  const options = {
    terminal: attachment.terminal && process.stdout.isTTY,
    stdin: stdin && process.stdin.isTTY,
    signals,
  };
  try {
    return await inForeground(foreground, attachment.exit, options);
  } catch (error) {
    if (!(error instanceof Detached)) throw error;
    process.stderr.write('\r\n');
    return 0;
  }
}
