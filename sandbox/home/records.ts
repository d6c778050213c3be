// Writes the records of a home so that a power failure leaves the old one or the new one.
import { closeSync, constants, fsyncSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

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
