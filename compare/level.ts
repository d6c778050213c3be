// What a level of isolation is: how it is prepared, started, entered and removed. Each has a file in
// levels/.
import type { ImageConfig } from '../images/index.js';
import type { SandboxNetwork } from './network.js';

/** What every level gets: the same image, the same limits. */
export interface Bundle {
  /** The image's ID. */
  image: string;
  config: ImageConfig;
  /** A folder with the image's files and the gauge. */
  rootfs: string;
  /** A folder of the host that the level mounts at `FOLDER`, for reading and writing. */
  shared: string;
  /** A folder of the level's own, which is removed with what it contains. */
  folder: string;
  /** Bytes that the level may use, where it has such a limit. */
  memory: number;
}

/** A program of the host with its arguments and its whole environment. */
export interface CommandLine {
  words: readonly [program: string, ...words: string[]];
  env: NodeJS.ProcessEnv;
  /** Numbers of the CPUs on which it starts. Undefined for any. */
  cpus?: readonly number[];
  /** Milliseconds that a sandbox has to start, or a command to end. Default: five minutes. */
  patience?: number;
  /** Tells the line that says why it failed, with the reason as its first group. Default: the last line. */
  failure?: RegExp;
}

/** A level that this host has, with an image. */
export interface PreparedLevel extends AsyncDisposable {
  /** The version of the program behind it, or ''. */
  version: string;
  /** True if the level keeps the limit of memory. */
  limitsMemory: boolean;
  /** Starts a sandbox, and stays in the foreground: its stdout is that of the command. */
  start(id: string, command: readonly string[]): CommandLine;
  /** The same as `start`, for a sandbox with a network. A level without it has none here. */
  connect?(id: string, command: readonly string[], network: SandboxNetwork): CommandLine;
  /**
   * Runs a command in a sandbox.
   * @param pid of the sandbox's first process, as the host sees it
   */
  exec(id: string, pid: number, command: readonly string[]): CommandLine;
  /** Removes what the end of the foreground process may leave. */
  remove?(id: string): CommandLine;
  /**
   * Tells from its command line a process of the host that code in the sandbox could take over first.
   * Without it, this is the sandbox's own process.
   */
  faces?: RegExp;
  /**
   * Tells from its command line a process of the host that traces those that it starts. strace leaves
   * these to it: a process has one tracer.
   */
  traces?: RegExp;
  /**
   * Tells from its command line a process that a first sandbox starts for later ones, and that ends by
   * itself: a look at the surface waits for its end.
   */
  prepares?: RegExp;
  /** Why the sandbox has no folder of the host: then nothing in it is measured. */
  folderless?: string;
  /** What a reader of its figures must know. */
  note?: string;
  /** Folders in which its sandboxes keep files. A level without it does not say. */
  places?: readonly string[];
}

/** A level is not to be had on this host. */
export interface Missing {
  reason: string;
  /** How to get it. */
  advice?: string;
}

export interface Level {
  name: string;
  /** What keeps the sandbox from the host, in a few words. */
  summary: string;
  /** Returns why this host lacks the level. Undefined if it has it, as far as a look can tell. */
  missing(): Promise<Missing | undefined> | Missing | undefined;
  /** @throws Error with one line if the level does not work here; the reason of `signal` */
  prepare(bundle: Bundle, signal: AbortSignal): Promise<PreparedLevel>;
}

/** The gauge's path in each level. */
export const GAUGE = '/.tsvm-gauge';
/** The path of the folder of the host in each level. The image has it, empty. */
export const FOLDER = '/.tsvm-folder';

/** The variables of a command in the level. */
export function environmentOf({ Env }: ImageConfig): NodeJS.ProcessEnv {
  const defaults = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root' };
  const given = Env.map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]);
  return { ...defaults, ...Object.fromEntries(given) };
}
