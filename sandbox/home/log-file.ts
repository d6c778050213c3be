// The output of a container on disk, in the format of Docker's json-file driver: one line of JSON
// for each line of output, or for each piece of a line that was written in pieces. A full file is
// rotated: `log.json` becomes `log.json.1` and so on. The first entry of a file that follows another
// says where it is in the whole log.
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';
import { hasCode } from '../../errors/index.js';
import type { LogLimits } from '../spec/container-spec.js';

export const DEFAULT_LOG_LIMITS: LogLimits = { maxSize: 10_000_000, maxFiles: 3 };
/** Characters of an entry. Longer lines are split. */
const MAX_TEXT = 16_384;
const LINE_END = 0x0a;
/** The texts of entries: each ends with its line, or where it would be too long. */
const TEXTS = new RegExp(`[^\\n]{0,${MAX_TEXT - 1}}\\n|[^\\n]{1,${MAX_TEXT}}`, 'g');

export type LogStream = 'stdout' | 'stderr';

export interface LogEntry {
  log: string;
  stream: LogStream;
  /** RFC 3339. */
  time: string;
  /** Bytes of all entries before it, without this field. In the first entry of a file alone. */
  offset?: number;
}

const OFFSET = /^\{("offset":(\d{1,16}),)/;
/** Bytes at the beginning of a file, which have its offset. */
const HEAD = 40;

/** Appends to a log. If the disk is full, output is lost and the container runs on. */
export class LogWriter implements Disposable {
  readonly #decoders = { stdout: new StringDecoder('utf8'), stderr: new StringDecoder('utf8') };
  readonly #path: string;
  readonly #limits: LogLimits;
  #fd: number | undefined;
  #size = 0;
  /** Bytes of the entries of all files before this one. */
  #offset = 0;

  /** @param path path of the newest file */
  constructor(path: string, limits: LogLimits = DEFAULT_LOG_LIMITS) {
    this.#path = path;
    this.#limits = limits;
  }

  /** Returns how many bytes the log takes for the chunk. */
  write(stream: LogStream, chunk: Buffer): number {
    return this.#append(stream, this.#decoders[stream].write(chunk));
  }

  [Symbol.dispose](): void {
    for (const stream of ['stdout', 'stderr'] as const) this.#append(stream, this.#decoders[stream].end());
    this.#close();
  }

  #append(stream: LogStream, text: string): number {
    if (text === '') return 0;
    const rest: Omit<LogEntry, 'log'> = { stream, time: new Date().toISOString() };
    // Encoded once for all lines.
    const end = `,${JSON.stringify(rest).slice(1)}\n`;
    const bytes = Buffer.from(text.replace(TEXTS, (log) => `{"log":${JSON.stringify(log)}${end}`));
    try {
      this.#write(bytes);
    } catch {
      // The next entry may find room again.
      this.#close();
    }
    return bytes.length;
  }

  #write(entries: Buffer): void {
    if (this.#fd === undefined) this.#open();
    if (this.#size > 0 && this.#size + entries.length > this.#limits.maxSize) this.#rotate();
    const isFirst = this.#size === 0 && this.#offset > 0;
    const bytes = isFirst ? Buffer.concat([Buffer.from(`{"offset":${this.#offset},`), entries.subarray(1)]) : entries;
    let written = 0;
    try {
      while (written < bytes.length) written += writeSync(this.#fd!, bytes, written);
    } catch (error) {
      // Whole entries stay, because readers may have them already. Half of one goes.
      const whole = written === 0 ? 0 : bytes.lastIndexOf(LINE_END, written - 1) + 1;
      if (whole < written) ftruncateSync(this.#fd!, this.#size + whole);
      throw error;
    }
    this.#size += bytes.length;
  }

  #open(): void {
    this.#fd = openForLines(this.#path);
    this.#size = fstatSync(this.#fd).size;
    // A writer before this one may have ended between two files.
    this.#offset = this.#size > 0 ? placeOf(this.#fd).offset : endOf(rotated(this.#path, 1));
  }

  #close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #rotate(): void {
    const { end } = this.#fd === undefined ? { end: 0 } : placeOf(this.#fd);
    this.#close();
    const { maxFiles } = this.#limits;
    rmSync(rotated(this.#path, maxFiles - 1), { force: true });
    for (let age = maxFiles - 2; age >= 0; age--) {
      try {
        renameSync(rotated(this.#path, age), rotated(this.#path, age + 1));
      } catch (error) {
        if (!hasCode(error, 'ENOENT')) throw error;
      }
    }
    this.#open();
    this.#offset = end;
  }
}

/** Bytes of the entries before a file of the log, and with those in it. */
function placeOf(fd: number): { offset: number; end: number } {
  const head = Buffer.alloc(HEAD);
  const count = readSync(fd, head, 0, HEAD, 0);
  const [, field = '', digits = '0'] = OFFSET.exec(head.toString('latin1', 0, count)) ?? [];
  const offset = Number(digits);
  return { offset, end: offset + fstatSync(fd).size - field.length };
}

/** As `placeOf`, of a file that may not be there: 0. */
function endOf(path: string): number {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return 0;
    throw error;
  }
  try {
    return placeOf(fd).end;
  } finally {
    closeSync(fd);
  }
}

/**
 * Opens a file of lines to append to it. Half a line at its end, which a writer left that was
 * killed or met a full disk, ends here, so that the next line is not lost with it.
 */
export function openForLines(path: string): number {
  const fd = openSync(path, 'a+', 0o600);
  try {
    const { size } = fstatSync(fd);
    const last = Buffer.alloc(1);
    if (size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== LINE_END) writeSync(fd, '\n');
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Path of the file that was rotated `age` times. */
export function rotated(path: string, age: number): string {
  return age === 0 ? path : `${path}.${age}`;
}
