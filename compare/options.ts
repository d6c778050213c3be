// What a comparison is asked for.
import type { Home, Progress } from '../sandbox/index.js';
import type { Level } from './level.js';
import type { Operation } from './measures.js';
import type { Program } from './programs.js';

export interface CompareOptions {
  image: string;
  levels: readonly Level[];
  rounds: number;
  /** Milliseconds that all may take, from when the image is there. What is left then is not measured. */
  limit: number;
  /** Milliseconds that a sandbox has to start. Default: a part of the limit. */
  patience?: number;
  /** The clock by which the limit passes, in milliseconds. Default: the host's. */
  now?: () => number;
  /** Milliseconds for which the host is watched before each round. Default: 500. */
  watch?: number;
  /** Sandboxes of a level that are started at once. 0 leaves this out. */
  atOnce: number;
  /** Bytes that each sandbox may use. */
  memory: number;
  /** Milliseconds that each operation is repeated for, at least. */
  time: number;
  /** Numbers of the CPUs that all programs of the levels run on. Default: any. */
  cpus?: readonly number[];
  /** Programs of the image to measure. Default: those that it has, of a list. */
  programs?: readonly Program[];
  command?: readonly string[];
  operations?: readonly Operation[];
  /** Measures TCP in a sandbox with a network. Default: true. */
  tcp?: boolean;
  /** Measures in rounds. Default: true. */
  costs?: boolean;
  /** Looks at what code inside of the levels sees and reaches. */
  probes?: boolean;
  /** Looks at the surface of the host that the levels leave. */
  surface?: boolean;
  /** The version of tsvm. */
  version: string;
  home?: Home;
  signal: AbortSignal;
  onPull?(progress: Progress): void;
  /** Called when the image is there. Before, `signal` ends nothing. */
  onImage?(): void;
  /** Called before each step, with the share of the work that is done. */
  onStep?(text: string, share: number): void;
}
