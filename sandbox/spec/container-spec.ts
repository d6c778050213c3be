// What a caller asks for when the container may stay: a run, and how it is kept.
import type { RunSpec } from './run-spec.js';
import type { Signal } from './signal-number.js';

/** Docker's `--restart`. */
export interface RestartPolicy {
  name: 'no' | 'on-failure' | 'always' | 'unless-stopped';
  /** Of `on-failure`; absent: as often as it takes. */
  maximumRetryCount?: number;
}

export interface LogLimits {
  /** Bytes after which a log file is full. */
  maxSize: number;
  /** Files that are kept, the newest included. */
  maxFiles: number;
}

/** What a caller asks for: a run, and how it is kept. */
export interface ContainerSpec extends RunSpec {
  /** Default: two words at random. */
  name?: string;
  labels?: Readonly<Record<string, string>>;
  /** The container is removed when it ends. */
  autoRemove?: boolean;
  restart?: RestartPolicy;
  /** Nothing of the image is run: the container is there for what `exec` starts in it. */
  idle?: boolean;
  /** Sent by `stop`. Default: the image's, else SIGTERM. */
  stopSignal?: Signal;
  /** Milliseconds between that and SIGKILL. Default 10,000. */
  stopTimeout?: number;
  logs?: LogLimits;
}
