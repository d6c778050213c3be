// The SSH agents that `--ssh` gives to a build.
import { statSync } from 'node:fs';
import { messageOf } from '../../errors/index.js';
import { BuildError } from '../build-error.js';
import { KeyAgent } from './key-agent.js';

/** The user's agent, or files with private keys. */
export type SshSource = { socket: string } | { keys: readonly [string, ...string[]] };

/**
 * What paths of `--ssh ID=PATH,...` are.
 * @throws BuildError `bad-option`
 */
export function sshSource(paths: readonly [string, ...string[]]): SshSource {
  const [first] = paths;
  const odd = paths.find((path) => !typeOf(path).isSocket() && !typeOf(path).isFile());
  if (odd !== undefined) throw new BuildError('bad-option', `${odd} is neither a socket nor a file with a key`);
  const sockets = paths.filter((path) => typeOf(path).isSocket());
  if (sockets.length === 0) return { keys: paths };
  if (paths.length === 1) return { socket: first };
  throw new BuildError('bad-option', `${sockets[0]} is a socket: give it alone, or files with keys`);
}

/** For an ID without an agent, in BuildKit's words. */
export function noAgent(id: string): BuildError {
  const message = `no SSH key ${JSON.stringify(id)} forwarded from the client: give it by --ssh`;
  return new BuildError('bad-option', message);
}

function typeOf(path: string) {
  try {
    return statSync(path);
  } catch (error) {
    throw new BuildError('bad-option', `cannot use ${path} for --ssh: ${messageOf(error)}`, { cause: error });
  }
}

/** Owns the agents that were started for the build. */
export class SshAgents implements AsyncDisposable {
  readonly #sockets = new Map<string, string>();
  readonly #own: KeyAgent[] = [];

  /** @throws BuildError `bad-option`; ImageError `missing-program`; the reason of `signal` */
  static async open(sources: ReadonlyMap<string, SshSource>, signal: AbortSignal): Promise<SshAgents> {
    const agents = new SshAgents();
    try {
      for (const [id, source] of sources) agents.#sockets.set(id, await agents.#open(source, signal));
      return agents;
    } catch (error) {
      await agents[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #open(source: SshSource, signal: AbortSignal): Promise<string> {
    if ('socket' in source) {
      if (!typeOf(source.socket).isSocket()) throw new BuildError('bad-option', `${source.socket} is no socket`);
      return source.socket;
    }
    const agent = await KeyAgent.start(source.keys, signal);
    this.#own.push(agent);
    return agent.socket;
  }

  /** Path of the socket of an agent. */
  socketOf(id: string): string | undefined {
    return this.#sockets.get(id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#own.map((agent) => agent[Symbol.asyncDispose]()));
  }
}
