// Files whose checksum was computed once: while a file has the inode, size and times that it had
// then, its contents are the same. Gigabytes are not read again each time a machine comes from
// them.
import { type BigIntStats, fstatSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { type Check, integer, record, text } from '../../vmm/saved-state.js';
import type { FileChecksum } from './file-checksum.js';

export interface CheckedFile extends FileChecksum {
  identity: string;
}

export const checkedFile: Check<CheckedFile> = record<CheckedFile>({
  size: integer(0, Number.MAX_SAFE_INTEGER),
  crc32: integer(0, 2 ** 32 - 1),
  identity: text(/^/, 'text'),
});

/** A change of a file's contents changes its times. ctime cannot be set. */
function identityOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
}

/** The identity of the file at `path`. @throws Error of the file system */
export function fileIdentity(path: string): string {
  return identityOf(statSync(path, { bigint: true }));
}

/**
 * Writes a file out, and computes its checksum. Nothing but its contents may be changed afterwards:
 * not its mode, and not its name.
 * @throws Error of the file system
 */
export async function checkFile(
  path: string,
  checksumOf: (path: string) => Promise<FileChecksum>,
): Promise<CheckedFile> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  // What changes while it is read has another identity afterwards.
  const identity = fileIdentity(path);
  return { ...(await checksumOf(path)), identity };
}

/**
 * What an open file has now, if it is not what was checked. A file that was not touched since is not
 * read.
 * @throws Error of the file system
 */
export async function changeOf(
  fd: number,
  { identity, size, crc32 }: CheckedFile,
  checksumOf: (path: string) => Promise<FileChecksum>,
): Promise<FileChecksum | undefined> {
  if (identityOf(fstatSync(fd, { bigint: true })) === identity) return undefined;
  const found = await checksumOf(`/proc/self/fd/${fd}`);
  return found.size === size && found.crc32 === crc32 ? undefined : found;
}
