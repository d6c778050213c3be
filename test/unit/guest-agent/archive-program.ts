// The agent's tar reader, built for this machine with AddressSanitizer and
// UndefinedBehaviorSanitizer.
import { execFileSync } from 'node:child_process';
import { buildSanitized } from './sanitized.js';

const SOURCES = ['archive/tar-reader.c', 'archive/tar-extension.c', 'archive/tar-number.c'];

/** Builds the program of read-archives.c and returns its path. */
export function buildArchiveReader(directory: string): string {
  return buildSanitized(directory, 'read-archives.c', SOURCES);
}

/** An entry as the agent reads it. Texts are latin1: one character for each byte. */
export interface AgentEntry {
  type: string;
  path: string;
  linkname: string;
  size: number;
  uid: number;
  gid: number;
  mode: number;
  /** Seconds and nanoseconds. */
  mtime: [number, number];
  device: [number, number];
  xattrs: [string, string][];
  /** The contents if the size is even; else the program leaves them to the reader to skip. */
  contents: string;
}

export interface ReadArchive {
  entries: AgentEntry[];
  error: string | null;
}

/** What the agent reads in each archive. */
export function readArchives(program: string, archives: readonly Buffer[]): ReadArchive[] {
  const input = archives.flatMap((archive) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(archive.length);
    return [length, archive];
  });
  return run(program, [], Buffer.concat(input));
}

/** What the agent reads in one file. */
export function readArchiveFile(program: string, path: string): ReadArchive {
  const [archive] = run(program, ['--file', path], Buffer.alloc(0));
  if (archive === undefined) throw new Error('the program printed nothing');
  return archive;
}

function run(program: string, args: string[], input: Buffer): ReadArchive[] {
  const output = execFileSync(program, args, { input, maxBuffer: 2 ** 30, stdio: ['pipe', 'pipe', 'inherit'] });
  const text = output.toString('latin1').trimEnd();
  return text === '' ? [] : text.split('\n').map((line) => JSON.parse(line));
}
