// The records of a home: objects in JSON. A record that is written here is the old one or the new
// one after a power failure; of records of older versions a part may be left, or nothing.
import { createHash } from 'node:crypto';
import { closeSync, constants, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Reads a record. Undefined if only a part of it was written.
 * @throws Error of the file system
 */
export function readRecord<T extends object>(path: string): T | undefined {
  const text = readFileSync(path, 'utf8');
  try {
    const record: unknown = JSON.parse(text);
    return typeof record === 'object' && record !== null && !Array.isArray(record) ? (record as T) : undefined;
  } catch {
    return undefined;
  }
}

/** Adds the SHA-256 of a record, as JSON, to it. */
export function sealed<T extends object>(about: T): T & { sha256: string } {
  return { ...about, sha256: digestOf(about) };
}

/** Returns true if a record is one that `sealed` returned, written and read. */
export function isSealed(record: object): boolean {
  const { sha256, ...about } = { sha256: undefined, ...record };
  return sha256 === digestOf(about);
}

function digestOf(about: object): string {
  return createHash('sha256').update(JSON.stringify(about)).digest('hex');
}

/**
 * Replaces the record at `path`, and waits until it is on the disk. Other writers are kept away by
 * a lock.
 */
export function writeRecord(path: string, record: unknown): void {
  writeSynced(`${path}.new`, JSON.stringify(record));
  renameSync(`${path}.new`, path);
  syncFolder(dirname(path));
}

/** Writes a whole file. It is durable once its folder is synced. */
export function writeSynced(path: string, text: string): void {
  const file = openSync(path, 'w', 0o600);
  try {
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Makes new names in a folder durable. */
export function syncFolder(path: string): void {
  const folder = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
