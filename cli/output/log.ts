// The log on stderr: lines of text, or JSON (pino) for programs.

import { printableJson, printableLine } from '../../printable/index.js';
import type { Log } from '../../sandbox/internal.js';

export const LEVELS = ['silent', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type Level = (typeof LEVELS)[number];

export const FORMATS = ['text', 'json'] as const;

export interface LogOptions {
  logLevel?: Level;
  logFormat?: (typeof FORMATS)[number];
  quiet?: boolean;
}

export interface CliLog extends Log {
  readonly level: Level;
  info(message: string, fields?: object): void;
  error(message: string, fields?: object): void;
}

/** Opens the log. By default it has warnings and errors; with `--quiet`, errors only. */
export async function createLog({ logLevel, logFormat, quiet }: LogOptions): Promise<CliLog> {
  const level = logLevel ?? (quiet ? 'error' : 'warn');
  if (logFormat !== 'json') return textLog(level);
  const { default: pino } = await import('pino');
  const logger = pino({ level, base: null }, pino.destination({ fd: 2, sync: true }));
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
      process.stderr.write(
        `tsvm: ${word}${printableLine(message)}${fields === undefined ? '' : ` ${printableJson(fields)}`}\n`,
      );
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
