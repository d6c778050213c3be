// Writes an archive to a file of the host.
import { createWriteStream, renameSync, rmSync, statSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { UsageError } from '../../output/errors.js';

/**
 * A regular file is renamed into place once it is complete. A pipe or device is written directly.
 *
 * @throws UsageError if the path is a directory, or empty; what `save` throws
 */
export async function saveTo(path: string, save: (output: Writable) => Promise<void>): Promise<void> {
  if (path === '') throw new UsageError("invalid argument '' for --output: expected the path of a file");
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory()) throw new UsageError(`${path} is a directory`);
  if (found !== undefined && !found.isFile()) return save(createWriteStream(path));
  const partial = `${path}.${process.pid}.partial`;
  try {
    await save(createWriteStream(partial, { mode: 0o600 }));
    renameSync(partial, path);
  } finally {
    rmSync(partial, { force: true });
  }
}
