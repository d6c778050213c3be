// The instructions of a Dockerfile, parsed. Variables are still in their words.
import type { Place } from '../build-error.js';
import type { Heredoc } from './lines.js';

/** The shell form is one text for a shell, the exec form a list of arguments. */
export type CommandForm = { form: 'shell'; text: string } | { form: 'exec'; argv: string[] };

export type Pair = readonly [name: string, value: string];

export interface Health {
  /** Undefined for `HEALTHCHECK NONE`. */
  command: CommandForm | undefined;
  /** Nanoseconds. */
  interval?: number;
  timeout?: number;
  startPeriod?: number;
  startInterval?: number;
  retries?: number;
}

export interface CopyInstruction {
  kind: 'copy' | 'add';
  /** Words. Those that begin a heredoc are in `heredocs` instead. */
  sources: string[];
  destination: string;
  heredocs: Heredoc[];
  from?: string | undefined;
  chown?: string | undefined;
  chmod?: string | undefined;
  /** If true, existing links in the destination are not followed. */
  link: boolean;
  parents: boolean;
  excludes: string[];
  checksum?: string | undefined;
  /** With `add`: unpacks archives. Default: those that are local. */
  unpack?: boolean | undefined;
  /** With `add`: a repository keeps its `.git`. */
  keepsGit: boolean;
}

export interface RunInstruction {
  kind: 'run';
  command: CommandForm;
  heredocs: Heredoc[];
  /** `type=cache,target=/x`: one value of `--mount` each. */
  mounts: string[];
  network?: string | undefined;
}

export interface FromInstruction {
  kind: 'from';
  image: string;
  platform?: string | undefined;
  /** In lower case. */
  name?: string | undefined;
}

export type Instruction = { keyword: string; text: string; place: Place } & (
  | FromInstruction
  | RunInstruction
  | CopyInstruction
  | { kind: 'env' | 'label'; pairs: Pair[] }
  | { kind: 'arg'; args: { name: string; value: string | undefined }[] }
  | { kind: 'cmd' | 'entrypoint'; command: CommandForm }
  | { kind: 'shell'; argv: string[] }
  | { kind: 'user' | 'workdir' | 'stopsignal' | 'maintainer'; value: string }
  | { kind: 'expose'; words: string[] }
  | { kind: 'volume'; words: string[] }
  | { kind: 'healthcheck'; health: Health }
  | { kind: 'onbuild'; trigger: string }
);
