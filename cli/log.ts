// The log: lines of text for people, or JSON (pino) for programs. All of it goes to stderr.
import type { Log } from '../sandbox/index.js';
import { UsageError } from './failure.js';

export const LEVELS = ['silent', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type Level = (typeof LEVELS)[number];

export interface LogOptions {
  logLevel?: string;
  logFormat?: string;
  quiet?: boolean;
}

export interface CliLog extends Log {
  readonly level: Level;
  info(message: string, fields?: object): void;
  error(message: string, fields?: object): void;
}

/**
 * Makes the log that the global options ask for. Only errors with `--quiet`; warnings too without it.
 * @throws UsageError for an unknown level or format
 */
export async function createLog({ logLevel, logFormat = 'text', quiet }: LogOptions): Promise<CliLog> {
  const level = (logLevel ?? (quiet ? 'error' : 'warn')) as Level;
  if (!LEVELS.includes(level)) throw new UsageError(`invalid log level '${level}': one of ${LEVELS.join(', ')}`);
  if (logFormat === 'text') return textLog(level);
  if (logFormat !== 'json') throw new UsageError(`invalid log format '${logFormat}': text or json`);
  const { default: pino } = await import('pino');
  const logger = pino({ level, base: undefined }, pino.destination({ fd: 2, sync: true }));
  return {
    level,
    debug: (message, fields) => logger.debug(fields, message),
    info: (message, fields) => logger.info(fields, message),
    warn: (message, fields) => logger.warn(fields, message),
    error: (message, fields) => logger.error(fields, message),
  };
}

function textLog(level: Level): CliLog {
  const write = (of: Level, word: string) => {
    if (LEVELS.indexOf(of) > LEVELS.indexOf(level)) return () => {};
    return (message: string, fields?: object) => {
      process.stderr.write(`tsvm: ${word}${message}${fields === undefined ? '' : ` ${JSON.stringify(fields)}`}\n`);
    };
  };
  return {
    level,
    debug: write('debug', 'debug: '),
    info: write('info', ''),
    warn: write('warn', 'warning: '),
    error: write('error', ''),
  };
}
