// The machine process's log: pino, written to stderr. pino is loaded with the first record, because
// most runs write none and loading it takes about as long as building a machine.
import { createRequire } from 'node:module';
import type { MachineSpec } from '../machine.js';

export type LogLevel = MachineSpec['logLevel'];

/** Writes one record: its fields and its message, in pino's order. */
type Write = (fields: object, message: string) => void;

export interface Logger {
  error: Write;
  warn: Write;
  info: Write;
  debug: Write;
}

const ORDER = ['debug', 'info', 'warn', 'error'] as const;
type Level = (typeof ORDER)[number];

/** Returns a logger that writes records of `level` and above to stderr. */
export function createLogger(level: LogLevel): Logger {
  let pino: Logger | undefined;
  const load = (): Logger => {
    const require = createRequire(import.meta.url);
    const create = require('pino') as typeof import('pino').pino;
    return create({ name: 'tsvm-machine', level }, create.destination({ fd: 2, sync: true }));
  };
  const lowest = level === 'trace' ? 0 : level === 'silent' ? ORDER.length : ORDER.indexOf(level);
  const writer = (name: Level): Write => {
    if (ORDER.indexOf(name) < lowest) return () => {};
    return (fields, message) => {
      pino ??= load();
      pino[name](fields, message);
    };
  };
  return { debug: writer('debug'), info: writer('info'), warn: writer('warn'), error: writer('error') };
}
