// Runs the git of the host for a repository that a stranger may have made: with no settings, hooks,
// helpers, filters or prompts, and with the protocols of its URL alone.
import { spawn } from 'node:child_process';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ImageError } from '../../images/build.js';
import { printableLine } from '../../printable/index.js';
import { findProgram } from '../../programs/index.js';
import { BuildError } from '../build-error.js';
import { MAX_DOWNLOAD_BYTES } from '../limits.js';
import type { GitSource } from './source.js';

export interface GitOptions {
  /** An empty folder: `.git` in it is the repository. */
  folder: string;
  source: Pick<GitSource, 'scheme' | 'url' | 'shown'>;
  /** URL of the proxy that http and https go through. */
  proxy: string;
  /** How a server of ssh is reached. Undefined: as the user's own ssh does. */
  ssh?: SshAccess | undefined;
  /** Further settings of git. */
  settings: readonly (readonly [name: string, value: string])[];
  signal: AbortSignal;
}

/** A server of ssh that a Dockerfile names. */
export interface SshAccess {
  /** Path of the socket of the agent with the keys. */
  agent: string;
  /** The only address that is connected to. */
  address: string;
  /** The server's name in known_hosts: made of letters, digits and `.-:[]`. */
  alias: string;
}

/** Bytes of what git says that are kept. */
const MAX_COMPLAINT = 16 << 10;
/** Bytes of an answer that is kept whole. */
const MAX_ANSWER = 16 << 20;

/** git has failed. */
export class GitError extends Error {
  override readonly name = 'GitError';
}

/** Files get the modes that Docker gives them, and a bound. In blocks of 512 bytes (POSIX). */
const START = `umask 022; ulimit -f ${MAX_DOWNLOAD_BYTES / 512}; exec "$0" "$@"`;

const SSH = 'ssh -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=2';

/**
 * Nothing of the user's but the keys of the agent and the known hosts, which say which server it
 * is.
 */
const STRANGERS_SSH = [
  '-F none -o IdentityFile=none -o PreferredAuthentications=publickey -o PKCS11Provider=none',
  '-o StrictHostKeyChecking=yes -o CheckHostIP=no -o UpdateHostKeys=no -o ForwardAgent=no -o ClearAllForwardings=yes',
  '-o "UserKnownHostsFile=\\"$HOME/.ssh/known_hosts\\""',
];

export class Git {
  readonly #program: string;
  readonly #options: GitOptions;
  readonly #env: Record<string, string>;

  /** @throws ImageError `missing-program` */
  constructor(options: GitOptions) {
    this.#program = gitProgram();
    this.#options = options;
    this.#env = environment(options);
  }

  get folder(): string {
    return this.#options.folder;
  }

  get source(): GitOptions['source'] {
    return this.#options.source;
  }

  /** What a command prints. @throws GitError; the reason of the signal */
  async read(words: readonly string[]): Promise<string> {
    const chunks: Buffer[] = [];
    let length = 0;
    await this.run(words, (chunk) => {
      length += chunk.length;
      if (length > MAX_ANSWER) throw new BuildError('too-large', `${this.source.shown} has too many references`);
      chunks.push(chunk);
    });
    return Buffer.concat(chunks).toString();
  }

  /**
   * Runs a command to its end. None of its processes outlives it.
   *
   * @param take reads what it prints. If it throws, the command ends
   * @throws GitError; the error of `take`; the reason of the signal
   */
  async run(words: readonly string[], take: (chunk: Buffer) => void = () => {}): Promise<void> {
    const { folder, signal } = this.#options;
    signal.throwIfAborted();
    const child = spawn('/bin/sh', ['-c', START, this.#program, ...words], {
      ...{ cwd: folder, env: this.#env, stdio: ['ignore', 'pipe', 'pipe'] },
      // A group of its own, which is ended as one.
      detached: true,
    });
    const end = () => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // All its processes are gone.
      }
    };
    let failure: { error: unknown } | undefined;
    let complaint = '';
    child.stdout.on('data', (chunk: Buffer) => {
      if (failure !== undefined) return;
      try {
        take(chunk);
      } catch (error) {
        failure = { error };
        end();
      }
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (complaint.length < MAX_COMPLAINT) complaint += chunk.toString();
    });
    signal.addEventListener('abort', end);
    const { code, by } = await new Promise<{ code: number | null; by: string | null }>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, by) => resolve({ code, by }));
    }).finally(() => {
      signal.removeEventListener('abort', end);
      end();
    });
    signal.throwIfAborted();
    if (failure !== undefined) throw failure.error;
    if (code !== 0) throw new GitError(this.#reason(complaint) || `git ended by ${by ?? `exit code ${code}`}`);
  }

  /** The line of git's that says most, without passwords. */
  #reason(complaint: string): string {
    const lines = complaint.split('\n').map((line) => line.trim());
    const said = lines.filter((line) => line !== '' && !/^(?:warning|hint):/.test(line));
    // ssh has said why right before it.
    const ssh = said.indexOf('fatal: Could not read from remote repository.') - 1;
    const worst =
      said[ssh] ?? said.findLast((line) => /^(?:fatal|error|ERROR|remote):/.test(line)) ?? said.at(-1) ?? '';
    const { url, shown } = this.source;
    return printableLine(worst.replaceAll(url, shown).replace(/\/\/[^/@\s']*@/g, '//')).slice(0, 500);
  }
}

/** @throws ImageError `missing-program` */
function gitProgram(): string {
  const program = findProgram('git');
  if (program === undefined) {
    throw new ImageError('missing-program', 'a repository is fetched by git, which is not installed: apt install git');
  }
  return program;
}

function environment({ folder, source, proxy, ssh, settings }: GitOptions): Record<string, string> {
  const { scheme, url } = source;
  const all: (readonly [string, string])[] = [
    ['remote.origin.url', url],
    ['core.hooksPath', '/dev/null'],
    ['core.attributesFile', '/dev/null'],
    ['core.excludesFile', '/dev/null'],
    ['core.fsmonitor', 'false'],
    ['core.logAllRefUpdates', 'false'],
    ['credential.helper', ''],
    ['gc.auto', '0'],
    ['maintenance.auto', 'false'],
    // A pack stays as it came: its size bounds what is written.
    ['fetch.unpackLimit', '1'],
    ['fetch.recurseSubmodules', 'false'],
    ['submodule.recurse', 'false'],
    ['advice.detachedHead', 'false'],
    ['http.proxy', proxy],
    ['http.emptyAuth', 'false'],
    ['http.lowSpeedLimit', '1024'],
    ['http.lowSpeedTime', '30'],
    ...settings,
  ];
  const env: Record<string, string> = {
    PATH: process.env.PATH ?? '',
    LC_ALL: 'C',
    GIT_DIR: join(folder, '.git'),
    GIT_WORK_TREE: folder,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    // Of the URL, and what a server redirects to: no http after https.
    GIT_ALLOW_PROTOCOL: scheme === 'http' ? 'http:https' : scheme,
    GIT_CONFIG_COUNT: String(all.length),
    // No ~/.netrc.
    HOME: folder,
    ...Object.fromEntries(
      all.flatMap(([name, value], at) => [
        [`GIT_CONFIG_KEY_${at}`, name],
        [`GIT_CONFIG_VALUE_${at}`, value],
      ]),
    ),
  };
  if (scheme !== 'ssh') return env;
  // Keys, known hosts and settings of ssh are the user's, who has named the server.
  const agent = ssh?.agent ?? process.env.SSH_AUTH_SOCK;
  const words = [SSH, ...(ssh === undefined ? [] : [...STRANGERS_SSH, `-o HostName=${ssh.address}`])];
  return {
    ...env,
    HOME: homedir(),
    ...(agent !== undefined && { SSH_AUTH_SOCK: agent }),
    GIT_SSH_COMMAND: [...words, ...(ssh === undefined ? [] : [`-o 'HostKeyAlias=${ssh.alias}'`])].join(' '),
  };
}
