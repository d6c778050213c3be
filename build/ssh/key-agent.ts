// An ssh-agent(1) of the build's own, for keys that the user gives as files. The keys are in its
// memory, and go with it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { within } from '../../deadline/index.js';
import { messageOf } from '../../errors/index.js';
import { ImageError } from '../../images/build.js';
import { printableLine } from '../../printable/index.js';
import { findProgram } from '../../programs/index.js';
import { BuildError } from '../build-error.js';

/** Milliseconds for an agent to start, and to take a key. */
const PATIENCE = 30_000;
/** Milliseconds for an agent to end. */
const END_PATIENCE = 10_000;
/** Characters of what a program says that are kept. */
const MAX_SAID = 4096;

/**
 * The command of the agent: it ends when the build does, and the agent within 10 s of it
 * (`ssh-agent COMMAND`).
 */
const HOLDER = 'echo "$SSH_AGENT_PID $SSH_AUTH_SOCK"; exec cat';

export class KeyAgent implements AsyncDisposable {
  readonly socket: string;
  readonly #pid: number;
  readonly #holder: ChildProcess;

  private constructor(holder: ChildProcess, pid: number, socket: string) {
    this.#holder = holder;
    this.#pid = pid;
    this.socket = socket;
  }

  /**
   * @param keys paths of private keys, none of which has a passphrase
   * @throws BuildError `bad-option`; ImageError `missing-program`; the reason of `signal`
   */
  static async start(keys: readonly string[], signal: AbortSignal): Promise<KeyAgent> {
    const [program, add] = [findProgram('ssh-agent'), findProgram('ssh-add')];
    if (program === undefined || add === undefined) {
      throw new ImageError(
        'missing-program',
        'keys of --ssh are held by ssh-agent, which is not installed: apt install openssh-client',
      );
    }
    const agent = await KeyAgent.#spawn(program, signal);
    try {
      for (const key of keys) await addKey(add, agent.socket, key, signal);
      return agent;
    } catch (error) {
      await agent[Symbol.asyncDispose]();
      throw error;
    }
  }

  static async #spawn(program: string, signal: AbortSignal): Promise<KeyAgent> {
    const holder = spawn(program, ['/bin/sh', '-c', HOLDER], {
      ...{ env: environment(), stdio: ['pipe', 'pipe', 'pipe'] },
      // A signal of the terminal ends the build, which ends it.
      detached: true,
    });
    holder.stdin.on('error', () => {});
    let [said, complaint] = ['', ''];
    const ended = once(holder, 'close');
    ended.catch(() => {});
    holder.stderr.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk).slice(0, MAX_SAID);
    });
    const bounded = within(PATIENCE, signal);
    const kill = () => holder.kill('SIGKILL');
    bounded.addEventListener('abort', kill);
    try {
      for await (const chunk of holder.stdout as AsyncIterable<Buffer>) {
        said = (said + chunk).slice(0, MAX_SAID);
        const [, pid, socket] = /^(\d+) (.+)\n/.exec(said) ?? [];
        if (pid !== undefined && socket !== undefined) return new KeyAgent(holder, Number(pid), socket);
      }
      await ended;
      signal.throwIfAborted();
      throw new BuildError('bad-option', `ssh-agent cannot be started: ${lastLine(complaint)}`);
    } finally {
      bounded.removeEventListener('abort', kill);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { exitCode, signalCode, stdin } = this.#holder;
    if (exitCode !== null || signalCode !== null) return;
    const ended = once(this.#holder, 'close');
    try {
      // It is a child of the holder, so that no other process has its ID while that lives.
      process.kill(this.#pid, 'SIGTERM');
    } catch {
      // It has ended.
    }
    // It removes its socket at last.
    const deadline = performance.now() + END_PATIENCE;
    while (existsSync(this.socket) && performance.now() < deadline) await sleep(5);
    stdin?.end();
    await ended;
  }
}

async function addKey(program: string, socket: string, key: string, signal: AbortSignal): Promise<void> {
  const child = spawn(program, ['-q', '--', resolve(key)], {
    env: { ...environment(), SSH_AUTH_SOCK: socket, SSH_ASKPASS_REQUIRE: 'never' },
    stdio: ['ignore', 'ignore', 'pipe'],
    // Without a terminal it asks for no passphrase.
    detached: true,
    signal: within(PATIENCE, signal),
    killSignal: 'SIGKILL',
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk).slice(0, MAX_SAID);
  });
  const [code] = await once(child, 'close').catch((error: unknown) => {
    signal.throwIfAborted();
    throw new BuildError('bad-option', `cannot use the key ${key}: ${messageOf(error)}`, { cause: error });
  });
  if (code === 0) return;
  if (/^Enter passphrase/.test(said)) {
    const message = `the key ${key} has a passphrase: ssh-add it to your own agent, and give --ssh without a file`;
    throw new BuildError('bad-option', message);
  }
  if (/ are too open\./.test(said)) throw new BuildError('bad-option', `others may read the key ${key}: chmod 600`);
  throw new BuildError('bad-option', `cannot use the key ${key}: ${lastLine(said) || `ssh-add ended with ${code}`}`);
}

function environment(): Record<string, string> {
  const { PATH = '', HOME = '/', TMPDIR } = process.env;
  return { PATH, HOME, LC_ALL: 'C', ...(TMPDIR !== undefined && { TMPDIR }) };
}

function lastLine(text: string): string {
  return printableLine(text.trim().split('\n').at(-1) ?? '').slice(0, 500);
}
