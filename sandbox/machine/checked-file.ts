// Files whose SHA-256 was computed once: while a file has the inode, size and times that it had then,
// its contents are the same. Gigabytes are not read again each time a machine comes from them.
import { type BigIntStats, fstatSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { type Check, integer, record, text } from '../../vmm/saved-state.js';
import type { FileDigest } from './file-digest.js';

export interface CheckedFile extends FileDigest {
  identity: string;
}

export const checkedFile: Check<CheckedFile> = record<CheckedFile>({
  size: integer(0, Number.MAX_SAFE_INTEGER),
  sha256: text(/^[0-9a-f]{64}$/, 'a SHA-256'),
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
 * Writes a file out, and computes its digest. Nothing but its contents may be changed afterwards: not
 * its mode, and not its name.
 * @throws Error of the file system
 */
export async function checkFile(path: string, digestOf: (path: string) => Promise<FileDigest>): Promise<CheckedFile> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  // What changes while it is read has another identity afterwards.
  const identity = fileIdentity(path);
  return { ...(await digestOf(path)), identity };
}

/**
 * What an open file has now, if it is not what was checked. A file that was not touched since is not
 * read.
 * @throws Error of the file system
 */
export async function changeOf(
  fd: number,
  { identity, size, sha256 }: CheckedFile,
  digestOf: (path: string) => Promise<FileDigest>,
): Promise<FileDigest | undefined> {
  if (identityOf(fstatSync(fd, { bigint: true })) === identity) return undefined;
  const found = await digestOf(`/proc/self/fd/${fd}`);
  return found.size === size && found.sha256 === sha256 ? undefined : found;
}
