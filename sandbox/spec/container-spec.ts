// The spec of a container: what it runs, and how it is kept.
import type { HealthOptions } from './health.js';
import type { RunSpec } from './run-spec.js';
import type { Signal } from './signal-number.js';

/** Docker's `--restart`. */
export interface RestartPolicy {
  name: 'no' | 'on-failure' | 'always' | 'unless-stopped';
  /** For `on-failure`: the most restarts. Default: no limit. */
  maximumRetryCount?: number;
}

export interface LogLimits {
  /** Bytes. A log file of this size is rotated. */
  maxSize: number;
  /** Number of log files that are kept, including the newest. */
  maxFiles: number;
}

/** What a container runs, and how it is kept. */
export interface ContainerSpec extends RunSpec {
  /** Default: two random words. */
  name?: string;
  labels?: Readonly<Record<string, string>>;
  /** If true, the container is removed when it ends. */
  autoRemove?: boolean;
  restart?: RestartPolicy;
  /**
   * If true, the image's command does not run. The container exists for the processes that `exec`
   * starts.
   */
  noCommand?: boolean;
  /** The signal that `stop` sends. Default: the image's, else SIGTERM. */
  stopSignal?: Signal;
  /** Milliseconds between that signal and SIGKILL. Default 10,000. */
  stopTimeout?: number;
  logs?: LogLimits;
  /** Changes the image's health check, or gives it one. */
  health?: HealthOptions;
  /** If true, the image's health check does not run. */
  noHealthcheck?: boolean;
}
