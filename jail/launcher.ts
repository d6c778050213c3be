// The command lines of the launcher of jails (main.c).
import { existsSync, realpathSync } from 'node:fs';
import { builtFile } from '../installation/index.js';
import { findProgram } from '../programs/index.js';
import { encodeFilter } from '../seccomp/bpf.js';
import { streamProgramFilter } from './stream-program.js';
import { userRange } from './user-range.js';

export const JAIL_LAUNCHER = builtFile('tsvm-jail');

/** What a program that is linked dynamically is loaded with. */
export const LIBRARIES = ['/lib', '/lib64', '/usr/lib', '/usr/lib64', '/usr/local/lib', '/etc/ld.so.cache'];

/** The environment variable with the jail of machines that have none, and of programs. */
export const JAIL_VARIABLE = 'TSVM_JAIL';

/** True if this installation has a launcher: it needs a C compiler to be built. */
export function hasLauncher(): boolean {
  return existsSync(JAIL_LAUNCHER);
}

/** True if the environment asks for no jails, to debug. */
export function wantsNoJail(): boolean {
  return process.env[JAIL_VARIABLE] === 'off';
}

/** Words of the launcher's command line: the option once for each value. */
export function option(name: string, values: readonly (string | number)[]): string[] {
  return values.flatMap((value) => [name, String(value)]);
}

/** Root's jails each have a user of their own. */
export function userOptions(): string[] {
  const range = userRange();
  return typeof range === 'object' ? option('--users', [`${range.first}:${range.count}`]) : [];
}

/** Paths under which a program finds itself: its name, and the file if that is a link. */
export function programFiles(paths: readonly string[]): string[] {
  return [...new Set(paths.flatMap((path) => [path, realpathSync(path)]))];
}

/** How a program that reads stdin and writes stdout is started. */
export interface StreamCommand {
  /** The command line. */
  words: string[];
  /** If present, what the command reads from {@link FILTER_FD} to its end. */
  filter?: Uint8Array;
}

/** After the standard streams. */
export const FILTER_FD = 3;

/** The window that a format's strongest setting needs is 512 MiB (images/decompress.ts). */
const MEMORY = 2 ** 30;
/** zstd has a few threads. */
const PROCESSES = 16;
/** A CPU unpacks hundreds of gigabytes in a day. */
const CPU_SECONDS = 24 * 60 * 60;
/** Libraries, streams, a pipe of xz's own. */
const FILES = 64;

/**
 * Starts a program that reads stdin and writes stdout, and needs nothing else: in a jail if there is a
 * launcher. Undefined if the program is not installed.
 */
export function streamCommand(name: string, words: readonly string[]): StreamCommand | undefined {
  const program = findProgram(name);
  if (program === undefined) return undefined;
  if (!hasLauncher() || wantsNoJail()) return { words: [program, ...words] };
  const options = [
    ...userOptions(),
    ...option('--filter', [FILTER_FD]),
    ...option('--memory', [MEMORY]),
    ...option('--processes', [PROCESSES]),
    ...option('--cpu-seconds', [CPU_SECONDS]),
    ...option('--files', [FILES]),
    ...option('--file-size', [0]),
    ...option('--read', [...LIBRARIES, ...programFiles([program])]),
  ];
  return { words: [JAIL_LAUNCHER, ...options, '--', program, ...words], filter: encodeFilter(streamProgramFilter()) };
}
