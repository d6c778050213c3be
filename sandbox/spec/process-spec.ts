// Merges image config and run spec into one process, by Docker's rules (moby: merge of image and
// container config).
import type { ImageConfig } from '../../images/index.js';
import { SandboxError } from '../errors.js';
import type { Environment, RunSpec } from './run-spec.js';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface ContainerProcess {
  argv: string[];
  env: string[];
  cwd: string;
  user: string;
}

/**
 * The process that a run starts.
 * @throws SandboxError `bad-spec` if neither the image nor the caller names a command
 */
export function resolveProcess(config: ImageConfig, spec: RunSpec, hostname: string): ContainerProcess {
  const argv = resolveArgv(config, spec);
  if (argv.length === 0) throw new SandboxError('bad-spec', 'no command specified');
  return {
    argv,
    env: resolveEnv(config, spec, hostname),
    cwd: spec.cwd ?? (config.WorkingDir || '/'),
    user: spec.user ?? config.User,
  };
}

function resolveArgv(config: ImageConfig, { entrypoint, command }: RunSpec): string[] {
  // The image's Cmd has arguments for the image's own Entrypoint, so another entrypoint does not
  // get it.
  if (entrypoint !== undefined) return [...(entrypoint === '' ? [] : [entrypoint]), ...command];
  return [...config.Entrypoint, ...(command.length > 0 ? command : config.Cmd)];
}

function resolveEnv(config: ImageConfig, spec: RunSpec, hostname: string): string[] {
  const defaults = [`PATH=${DEFAULT_PATH}`, `HOSTNAME=${hostname}`];
  if (spec.terminal) defaults.push('TERM=xterm');
  return mergeEnvironment([...defaults, ...config.Env], spec.env);
}

/**
 * Applies an environment to variables of the form `NAME=value`.
 *
 * @param base variables in order: the last value of a name wins, and a bare `NAME` removes the
 *   variable
 */
export function mergeEnvironment(base: readonly string[], changes: Environment = {}): string[] {
  const env = new Map<string, string>();
  for (const entry of base) {
    const equals = entry.indexOf('=');
    if (equals < 0) env.delete(entry);
    else env.set(entry.slice(0, equals), entry);
  }
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) env.delete(name);
    else env.set(name, `${name}=${value}`);
  }
  return [...env.values()];
}

/** @throws SandboxError `bad-spec` for a working directory that is not an absolute path */
export function checkCwd(cwd: string | undefined): void {
  if (cwd === undefined || cwd.startsWith('/')) return;
  throw new SandboxError('bad-spec', `the working directory '${cwd}' is invalid, it needs to be an absolute path`);
}

/** @throws SandboxError `bad-spec` for an invalid name of a variable */
export function checkEnvironment(env: Environment): void {
  const name = Object.keys(env).find((text) => text === '' || text.includes('='));
  if (name !== undefined) throw new SandboxError('bad-spec', `invalid environment variable: '${name}'`);
}
