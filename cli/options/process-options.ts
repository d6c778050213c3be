// The options of a process, for `tsvm run`, `tsvm create` and `tsvm exec`.
import type { ExecSpec, RunSpec } from '../../sandbox/internal.js';
import { type Declaration, entries, text } from './declaration.js';
import { parseEnv, readEnvFile } from './environment.js';

/** What the main process of a container and a process of `exec` share. */
type ProcessSpec = Pick<ExecSpec & RunSpec, 'stdin' | 'terminal' | 'env' | 'cwd' | 'user'>;

export const PROCESS_OPTIONS: readonly Declaration<ProcessSpec>[] = [
  { flags: '-i, --interactive', help: 'pass stdin to the command', field: 'stdin' },
  { flags: '-t, --tty', help: 'allocate a terminal for the command', field: 'terminal' },
  {
    flags: '--env-file <FILE>',
    help: 'set the environment variables of a file',
    field: 'env',
    parse: entries(readEnvFile),
  },
  // After --env-file, so that a variable of the command line replaces one of a file.
  {
    flags: '-e, --env <NAME=VALUE>',
    help: 'set an environment variable; NAME alone passes on its value',
    field: 'env',
    values: () => Object.keys(process.env),
    parse: entries((text) => [parseEnv(text, process.env)]),
  },
  { flags: '-w, --workdir <DIR>', help: 'working directory in the container', field: 'cwd', parse: text },
  { flags: '-u, --user <USER[:GROUP]>', help: 'user and group, by name or number', field: 'user', parse: text },
];
