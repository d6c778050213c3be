// The health check of a container, by Docker's rules: the image's, as the caller has changed it.
import type { ImageConfig } from '../../images/index.js';
import { SandboxError } from '../errors.js';

const INTERVAL = 30_000;
const TIMEOUT = 30_000;
const START_PERIOD = 0;
const START_INTERVAL = 5_000;
const RETRIES = 3;

/** What a caller changes of the image's health check. 0 stands for the default, as in Docker. */
export interface HealthOptions {
  /** A command for the image's shell. Default: the image's check. */
  command?: string;
  /** Milliseconds from the end of a check to the next one. Default 30,000. */
  interval?: number;
  /** Milliseconds that a check may take. Default 30,000. */
  timeout?: number;
  /** Failures in a row that make the container unhealthy. Default 3. */
  retries?: number;
  /** Milliseconds from the start in which failures do not count. Default 0. */
  startPeriod?: number;
  /** The interval until the first success within the start period. Default 5,000. */
  startInterval?: number;
}

/** The health check of a container. Times are milliseconds. */
export interface HealthCheck extends Required<Omit<HealthOptions, 'command'>> {
  /** As the image has it: `CMD` and arguments, or `CMD-SHELL` and a text. */
  test: string[];
  argv: string[];
}

interface HealthSpec {
  health?: HealthOptions;
  noHealthcheck?: boolean;
  noCommand?: boolean;
}

/** @throws SandboxError `bad-spec` */
export function checkHealth({ health = {}, noHealthcheck }: HealthSpec): void {
  const { command, ...numbers } = health;
  if (noHealthcheck && Object.values(health).some((value) => value !== undefined)) {
    throw new SandboxError('bad-spec', 'conflicting options: --no-healthcheck and --health-*');
  }
  const wrong = Object.entries(numbers).find(([, value]) => !Number.isSafeInteger(value) || value < 0);
  if (wrong !== undefined) {
    throw new SandboxError('bad-spec', `invalid ${wrong[0]} of the health check: ${wrong[1]} is not 0 or more`);
  }
}

/**
 * The check of a container. Undefined if it has none: without the image's command there is nothing
 * to check.
 */
export function resolveHealth(
  { Healthcheck, Shell = [] }: ImageConfig,
  { health = {}, noHealthcheck, noCommand }: HealthSpec,
): HealthCheck | undefined {
  const test = health.command === undefined ? (Healthcheck?.Test ?? []) : ['CMD-SHELL', health.command];
  const argv = argvOf(test, Shell.length > 0 ? Shell : ['/bin/sh', '-c']);
  if (noHealthcheck || noCommand || argv === undefined) return undefined;
  return {
    test,
    argv,
    interval: health.interval || milliseconds(Healthcheck?.Interval) || INTERVAL,
    timeout: health.timeout || milliseconds(Healthcheck?.Timeout) || TIMEOUT,
    startPeriod: health.startPeriod || milliseconds(Healthcheck?.StartPeriod) || START_PERIOD,
    startInterval: health.startInterval || milliseconds(Healthcheck?.StartInterval) || START_INTERVAL,
    retries: health.retries || Math.max(0, Healthcheck?.Retries ?? 0) || RETRIES,
  };
}

/** Undefined if the test runs nothing: an image with an unknown one runs all the same. */
function argvOf([kind, ...words]: readonly string[], shell: readonly string[]): string[] | undefined {
  if (words.length === 0) return undefined;
  if (kind === 'CMD') return words;
  return kind === 'CMD-SHELL' ? [...shell, ...words] : undefined;
}

/** @param time nanoseconds; an image may have a negative one, which is as good as none */
function milliseconds(time = 0): number {
  return Math.max(0, Math.ceil(time / 1e6));
}
