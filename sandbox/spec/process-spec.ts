// Image config and run spec make one process, by Docker's rules (moby: daemon's merge of image and container config).
import type { ImageConfig } from '../../images/index.js';
import { SandboxError } from '../errors.js';
import type { RunSpec } from './run-spec.js';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface ContainerProcess {
  argv: string[];
  env: string[];
  cwd: string;
  user: string;
}

/**
 * The process that a run starts.
 * @throws SandboxError `bad-spec` when neither the image nor the caller names a command
 */
export function resolveProcess(config: ImageConfig, spec: RunSpec, hostname: string): ContainerProcess {
  const argv = resolveArgv(config, spec);
  if (argv.length === 0) throw new SandboxError('bad-spec', 'no command specified');
  return {
    argv,
    env: resolveEnv(config, spec, hostname),
    cwd: spec.workdir ?? (config.WorkingDir || '/'),
    user: spec.user ?? config.User,
  };
}

function resolveArgv(config: ImageConfig, { entrypoint, command }: RunSpec): string[] {
  // The image's Cmd are arguments for the image's own Entrypoint, and of no use to another.
  if (entrypoint !== undefined) return [...(entrypoint === '' ? [] : [entrypoint]), ...command];
  return [...config.Entrypoint, ...(command.length > 0 ? command : config.Cmd)];
}

function resolveEnv(config: ImageConfig, spec: RunSpec, hostname: string): string[] {
  const defaults = [`PATH=${DEFAULT_PATH}`, `HOSTNAME=${hostname}`];
  if (spec.terminal) defaults.push('TERM=xterm');
  const env = new Map<string, string>();
  for (const entry of [...defaults, ...config.Env, ...(spec.env ?? [])]) {
    const equals = entry.indexOf('=');
    if (equals < 0) env.delete(entry);
    else env.set(entry.slice(0, equals), entry);
  }
  return [...env.values()];
}
