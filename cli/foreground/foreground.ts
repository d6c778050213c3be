// Starts or attaches to a container in the foreground.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Attachment,
  type Container,
  type ContainerIo,
  type ContainerStartOptions,
  SandboxError,
  SupervisorProcess,
} from '../../sandbox/internal.js';
import { type CallerIo, callerIo, inForeground } from './caller.js';
import { type DetachKeys, watchForKeys } from './detach-keys.js';
import { forwardSignals } from './signals.js';
import { type Foreground, terminalSize } from './terminal.js';

/** Milliseconds that a program has to redraw its screen, and between two checks. */
const REDRAW = 1000;
const REDRAW_LOOK = 5;

/** The caller typed the detach keys. */
class Detached extends SandboxError {
  constructor() {
    super('aborted', 'detached');
  }
}

export interface AttachOptions {
  stdin: boolean;
  signals?: boolean | undefined;
  keys?: DetachKeys;
}

/**
 * Attaches the caller to a container. Resolves to its exit code, or to 0 if the caller detached.
 */
export async function attachCaller(container: Container, { stdin, signals, keys }: AttachOptions): Promise<number> {
  const io = callerIo(stdin, container.config.spec.terminal === true);
  const attachment = await openAttachment(container, io, keys);
  const exit = follow(attachment, io, { stdin, signals });
  if (attachment.terminal && process.stdout.isTTY) redraw(attachment);
  return exit;
}

/**
 * Makes a full-screen program draw its screen for a caller that has just attached, by changing the
 * size of its terminal. The true size follows once the program has written output: if both changes
 * came at once, the program might see none.
 */
async function redraw(attachment: Attachment): Promise<void> {
  await sleep(REDRAW_LOOK, undefined, { ref: false });
  const { columns, rows } = terminalSize(process.stdout)!;
  const { outputChunks } = attachment;
  attachment.resize({ columns: columns + 1, rows: rows + 1 });
  for (let waited = 0; waited < REDRAW && attachment.outputChunks === outputChunks; waited += REDRAW_LOOK) {
    await sleep(REDRAW_LOOK, undefined, { ref: false });
  }
  attachment.resize(terminalSize(process.stdout)!);
}

/**
 * Starts a container with the caller attached from its first byte of output. Resolves to its exit
 * code, or to 0 if the caller detached.
 */
export async function startAttached(
  container: Container,
  { stdin, keys, supervisor = new SupervisorProcess(), ...options }: AttachOptions & ContainerStartOptions,
): Promise<number> {
  let attachment: Attachment | undefined;
  let followed: Promise<number> | undefined;
  let runs = false;
  let abortedBy: Error | undefined;
  const started = container.start({
    ...options,
    supervisor,
    onListening: async () => {
      const io = callerIo(stdin, container.config.spec.terminal === true);
      attachment = await openAttachment(container, io, keys);
      followed = follow(attachment, io, { stdin, signals: false, started });
      followed.catch(() => {});
    },
  });
  using _signals = forwardSignals({
    started,
    get outputChunks() {
      return attachment?.outputChunks ?? 0;
    },
    signal: (signal) => attachment?.signal(signal),
    resize: () => {},
    abort: (error) => {
      if (runs) return attachment?.detach(error);
      // The container has no process yet that could get a signal.
      abortedBy = error;
      if (attachment === undefined) supervisor[Symbol.dispose]();
      else container.stop({ timeout: 0 }).catch(attachment.detach);
    },
  });
  try {
    await started;
  } catch (error) {
    throw abortedBy ?? error;
  }
  runs = true;
  return await followed!;
}

async function openAttachment(container: Container, io: ContainerIo, keys?: DetachKeys): Promise<Attachment> {
  if (container.config.spec.terminal && io.stdin !== undefined && keys !== undefined) {
    const input = watchForKeys(process.stdin, keys, () => attachment.detach(new Detached()));
    const attachment = await container.attach({ ...io, stdin: input });
    return attachment;
  }
  return container.attach(io);
}

interface FollowOptions {
  stdin: boolean;
  signals?: boolean | undefined;
  started?: Promise<void>;
}

async function follow(
  attachment: Attachment,
  io: CallerIo,
  { stdin, signals, started = Promise.resolve() }: FollowOptions,
): Promise<number> {
  const foreground: Foreground = {
    started,
    get outputChunks() {
      return attachment.outputChunks;
    },
    signal: (signal) => attachment.signal(signal),
    resize: (size) => attachment.resize(size),
    abort: attachment.detach,
  };
  const options = {
    terminal: attachment.terminal && process.stdout.isTTY,
    stdin: stdin && process.stdin.isTTY,
    signals,
  };
  try {
    return await inForeground(foreground, attachment.exit, io, options);
  } catch (error) {
    if (!(error instanceof Detached)) throw error;
    process.stderr.write('\r\n');
    return 0;
  }
}
