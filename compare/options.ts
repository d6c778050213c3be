// What a comparison is asked for.
import type { Home, Progress } from '../sandbox/index.js';
import type { Level } from './level.js';
import type { Operation } from './measures.js';

export interface CompareOptions {
  image: string;
  levels: readonly Level[];
  rounds: number;
  /** Milliseconds after which no further round starts. The first one always does. */
  limit: number;
  /** Sandboxes of a level that are started at once. 0 leaves this out. */
  atOnce: number;
  /** Bytes that each sandbox may use. */
  memory: number;
  /** Milliseconds that each operation is repeated for, at least. */
  time: number;
  command?: readonly string[];
  operations?: readonly Operation[];
  /** Looks at what the levels see and reach, and measures nothing. */
  probes?: boolean;
  /** The version of tsvm. */
  version: string;
  home?: Home;
  signal: AbortSignal;
  onPull?(progress: Progress): void;
  /** Called before each step, with the share of the work that is done. */
  onStep?(text: string, share: number): void;
}
