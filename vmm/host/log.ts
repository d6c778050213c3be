// The machine process's log, written to stderr in pino's form. pino itself would be loaded from
// files, with the first record: the jail has none of them, and the filter of system calls lets the
// process open none.
import { hostname } from 'node:os';
import type { MachineSpec } from '../machine.js';
import * as libc from './libc.js';

export type LogLevel = MachineSpec['logLevel'];

/** Writes one record: its fields and its message, in pino's order. */
type Write = (fields: object, message: string) => void;

export interface Logger {
  error: Write;
  warn: Write;
  info: Write;
  debug: Write;
}

const STDERR = 2;
/** pino's numbers. */
const LEVELS = { trace: 10, debug: 20, info: 30, warn: 40, error: 50, silent: Number.POSITIVE_INFINITY } as const;

/** Returns a logger that writes records of `level` and above. */
export function createLogger(level: LogLevel, fd = STDERR): Logger {
  const base = { pid: process.pid, hostname: hostname(), name: 'tsvm-machine' };
  const writer = (name: keyof Logger): Write => {
    if (LEVELS[name] < LEVELS[level]) return () => {};
    return (fields, msg) => {
      const record = { level: LEVELS[name], time: libc.now(), ...base, ...fields, msg };
      const line = Buffer.from(`${JSON.stringify(record, describe)}\n`);
      libc.write(fd, line, line.length);
    };
  };
  return { debug: writer('debug'), info: writer('info'), warn: writer('warn'), error: writer('error') };
}

/** Errors as pino has them. */
function describe(_key: string, value: unknown): unknown {
  return value instanceof Error
    ? { type: value.name, message: value.message, stack: value.stack, cause: value.cause }
    : value;
}
