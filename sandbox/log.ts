// The log of the sandbox. The caller implements it.

export interface Log {
  debug(message: string, fields?: object): void;
  info(message: string, fields?: object): void;
  warn(message: string, fields?: object): void;
}

export const SILENT: Log = { debug() {}, info() {}, warn() {} };
