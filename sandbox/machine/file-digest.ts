// SHA-256 of files.
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

export interface FileDigest {
  /** Bytes. */
  size: number;
  /** Hexadecimal digits. */
  sha256: string;
}

/** SHA-256 of the bytes that a file has now: what another process appends meanwhile is not read. */
export async function fileDigest(path: string): Promise<FileDigest> {
  const file = await open(path, 'r');
  try {
    const hash = createHash('sha256');
    const { size: end } = await file.stat();
    let size = 0;
    for await (const chunk of end === 0 ? [] : file.createReadStream({ end: end - 1, autoClose: false })) {
      hash.update(chunk as Buffer);
      size += (chunk as Buffer).length;
    }
    return { size, sha256: hash.digest('hex') };
  } finally {
    await file.close();
  }
}
