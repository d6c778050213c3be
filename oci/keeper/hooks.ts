// Hooks (OCI runtime specification 1.1, config.md): programs of the host that run at points of a container's
// life, with its state on standard input. Those of `startContainer` are programs of the container.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GatheredBytes } from '../../bytes/index.js';
import { messageOf } from '../../errors/index.js';
import { builtFile } from '../../installation/index.js';
import type { ProcessSpec } from '../../sandbox/agent/protocol.js';
import type { OciHook, OciHooks } from '../config/config.js';
import { engineText, OciError } from '../config/oci-error.js';
import { type ContainerState, replaceFile } from './state-folder.js';

/** The file of the state folder that the command `tsvm-oci` looks for when a container is deleted. */
const POSTSTOP = 'poststop';
/** Bytes that are told of a hook's complaint. */
const MAX_COMPLAINT = 4096;
/** Milliseconds for the last bytes of a hook that has ended: a process that it left may have its output. */
const COMPLAINT_TIMEOUT = 500;
/** The longest timer, in milliseconds. */
const LONGEST = 2 ** 31 - 1;

/** How the hooks of a list run. */
interface Run {
  state: ContainerState;
  /** Aborting it kills the hook. */
  signal: AbortSignal;
  /** Its words, for a hook that runs in the namespaces of the stub; undefined: it runs in those of this process. */
  within?: readonly string[];
}

export function hasCreateHooks({ prestart, createRuntime, createContainer }: OciHooks): boolean {
  return [prestart, createRuntime, createContainer].some((list) => (list ?? []).length > 0);
}

/**
 * Runs the hooks of `create`, while the stub waits in its namespaces, before it enters its root.
 * @param state with the process id of the stub
 * @param options.root absolute path of the container's root
 * @throws OciError for the first one that fails: the container is given up
 */
export async function runCreateHooks(
  { prestart, createRuntime, createContainer }: OciHooks,
  state: ContainerState,
  { root, signal }: { root: string; signal: AbortSignal },
): Promise<void> {
  await runInOrder('prestart', prestart, { state, signal });
  await runInOrder('createRuntime', createRuntime, { state, signal });
  // The stub is the first process of its pid namespace.
  const within = ['hook', String(state.pid), root];
  await runInOrder('createContainer', createContainer, { state: { ...state, pid: 1 }, signal, within });
}

/**
 * The hooks that are programs of the container: its agent runs them.
 * @param state with the process id in the container
 */
export function startHooks(
  { startContainer }: OciHooks,
  state: ContainerState,
): Pick<ProcessSpec, 'hooks' | 'hookState'> {
  if ((startContainer ?? []).length === 0) return {};
  const hooks = (startContainer ?? []).map(({ path, args, env, timeout }) => ({
    ...{ path, argv: args ?? [], env: env ?? [] },
    ...(timeout && { timeout }),
  }));
  return { hooks, hookState: JSON.stringify(state) };
}

/** Runs hooks whose failure changes nothing. */
export async function runHooksToTheEnd(
  name: string,
  hooks: OciHooks['poststart'],
  { onWarning, ...how }: Run & { onWarning: (text: string) => void },
): Promise<void> {
  for (const [index, hook] of (hooks ?? []).entries()) {
    if (how.signal.aborted) return;
    try {
      await run(hook, how);
    } catch (error) {
      onWarning(failure(name, index, hook, error));
    }
  }
}

/**
 * Keeps the hooks for the time when the container is deleted, and its keeper gone.
 * @param folder the state folder
 */
export function keepPoststop(folder: string, hooks: readonly OciHook[], state: ContainerState): void {
  replaceFile(join(folder, POSTSTOP), JSON.stringify({ hooks, state }));
}

/** Runs the hooks that were kept. @param signal kills the one that runs, and ends it */
export async function runPoststop(signal: AbortSignal, onWarning: (text: string) => void): Promise<void> {
  const kept: { hooks: OciHook[]; state: ContainerState } = JSON.parse(readFileSync(POSTSTOP, 'utf8'));
  await runHooksToTheEnd('poststop', kept.hooks, { state: kept.state, signal, onWarning });
}

async function runInOrder(name: string, hooks: OciHooks['prestart'], how: Run): Promise<void> {
  for (const [index, hook] of (hooks ?? []).entries()) {
    try {
      await run(hook, how);
    } catch (error) {
      throw new OciError(failure(name, index, hook, error));
    }
  }
}

function failure(name: string, index: number, { path }: OciHook, error: unknown): string {
  return engineText(`${name} hook #${index} (${path}): ${messageOf(error)}`);
}

/** Runs a hook to its end. @throws OciError if it fails; Error of a system call */
async function run({ path, args, env, timeout }: OciHook, { state, signal, within }: Run): Promise<void> {
  signal.throwIfAborted();
  const [argv0 = path, ...rest] = args ?? [];
  const [file, words] = within ? [builtFile('tsvm-oci'), [...within, path, argv0, ...rest]] : [path, rest];
  const child = spawn(file, words, {
    ...(!within && { argv0 }),
    env: Object.fromEntries((env ?? []).map(variable)),
    cwd: existsSync(state.bundle) ? state.bundle : '/',
    stdio: ['pipe', 'ignore', 'pipe'],
    // A process group of its own, which is killed whole.
    detached: true,
  });
  const ended = once(child, 'exit');
  const complaint = gather(child);
  let isLate = false;
  const kill = () => killGroup(child);
  const late = timeout
    ? setTimeout(
        () => {
          isLate = true;
          kill();
        },
        Math.min(timeout * 1000, LONGEST),
      )
    : undefined;
  signal.addEventListener('abort', kill);
  try {
    child.stdin.on('error', () => {});
    child.stdin.end(JSON.stringify(state));
    const [code, by] = await ended;
    if (isLate) throw new OciError(`timed out after ${timeout} s`);
    if (code === 0) return;
    const text = (await complaint()).trim();
    throw new OciError(`${by ? `signal ${by}` : `exit code ${code}`}${text && `: ${text}`}`);
  } finally {
    clearTimeout(late);
    signal.removeEventListener('abort', kill);
    child.stderr.destroy();
  }
}

/** Returns what gives the beginning of the child's standard error, once it has ended. */
function gather({ stderr }: ChildProcess): () => Promise<string> {
  const bytes = new GatheredBytes();
  stderr?.on('data', (piece: Buffer) => {
    if (bytes.length < MAX_COMPLAINT) bytes.add(piece.subarray(0, MAX_COMPLAINT - bytes.length));
  });
  const closed = stderr && once(stderr, 'close').catch(() => {});
  return async () => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise((resolve) => {
      // What is in the pipe by then is read before the immediate, however late the timer comes.
      timer = setTimeout(() => setImmediate(resolve), COMPLAINT_TIMEOUT);
    });
    await Promise.race([closed, late]);
    clearTimeout(timer);
    return bytes.bytes.toString();
  };
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

function variable(text: string): [string, string] {
  const at = text.indexOf('=');
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
