// The compressed blobs that a layer is known to have in registries. They are not kept: a push finds
// them in its registry, or copies them from another, so that digests stay. Only what was verified
// is recorded: the bytes had this digest, and decompressed the layer's diff-id.

import { existsSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { BLOBS, layerPath } from './layout.js';
import { withStoreLock } from './lock.js';
import { readIfThere } from './record.js';
import { ifWritable, openWorkspace, syncDirectory, writeSynced } from './workspace.js';

const VERSION = 1;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
/** Of each layer, and of each blob. The latest are kept. */
const MAX_BLOBS = 8;
const MAX_REPOSITORIES = 8;
const COMPRESSIONS = ['none', 'gzip', 'zstd', 'xz'] as const;

export interface KnownBlob {
  /** `sha256:<hex>`. */
  digest: string;
  /** Bytes. */
  size: number;
  compression: (typeof COMPRESSIONS)[number];
  /** It was compressed here, for a push. */
  isOurs: boolean;
  /** Where it was seen, as `DOMAIN/PATH`, latest first. */
  repositories: string[];
}

/** The known blobs of a layer, latest first. A damaged file has none. */
export function knownBlobs(home: string, diffId: string): KnownBlob[] {
  const text = readIfThere(join(layerPath(home, diffId), BLOBS));
  if (text === null) return [];
  try {
    const json = JSON.parse(text.toString()) as { version?: unknown; blobs?: unknown };
    return json.version === VERSION && Array.isArray(json.blobs) ? json.blobs.filter(isKnownBlob) : [];
  } catch {
    return [];
  }
}

function isKnownBlob(value: unknown): value is KnownBlob {
  const blob = value as Partial<KnownBlob> | null;
  return (
    typeof blob === 'object' &&
    blob !== null &&
    typeof blob.digest === 'string' &&
    DIGEST.test(blob.digest) &&
    Number.isSafeInteger(blob.size) &&
    COMPRESSIONS.some((each) => each === blob.compression) &&
    Array.isArray(blob.repositories) &&
    blob.repositories.every((each) => typeof each === 'string')
  );
}

/** The contents of a layer's file of known blobs. */
export function blobsFile(blobs: readonly KnownBlob[]): string {
  return JSON.stringify({ version: VERSION, blobs });
}

/**
 * Records where blobs of layers are. A store that cannot be written stays as it is: the record only
 * saves work.
 *
 * @param seen by diff-id. A blob without `verified` is recorded only if its digest is known.
 */
export async function recordBlobs(
  home: string,
  repository: string,
  seen: ReadonlyMap<string, { digest: string; verified?: Omit<KnownBlob, 'digest' | 'repositories'> }>,
): Promise<void> {
  await ifWritable(async () => {
    const changed = [...seen].filter(([diffId, blob]) => withSeen(home, diffId, repository, blob) !== null);
    if (changed.length === 0) return;
    await using workspace = await openWorkspace(home);
    await withStoreLock(home, async () => {
      for (const [diffId, blob] of changed) {
        const blobs = withSeen(home, diffId, repository, blob);
        const folder = layerPath(home, diffId);
        if (blobs === null || !existsSync(folder)) continue;
        const file = join(workspace.path, BLOBS);
        await writeSynced(file, blobsFile(blobs));
        await rename(file, join(folder, BLOBS));
        await syncDirectory(folder);
      }
    });
  });
}

/** A layer's known blobs with one more seen, or null if that changes nothing. */
function withSeen(
  home: string,
  diffId: string,
  repository: string,
  { digest, verified }: { digest: string; verified?: Omit<KnownBlob, 'digest' | 'repositories'> },
): KnownBlob[] | null {
  const known = knownBlobs(home, diffId);
  const before = known.find((blob) => blob.digest === digest);
  if (before === undefined && verified === undefined) return null;
  if (before?.repositories.includes(repository)) return null;
  const { size, compression, isOurs } = before ?? verified!;
  const repositories = [repository, ...(before?.repositories ?? [])].slice(0, MAX_REPOSITORIES);
  const others = known.filter((blob) => blob.digest !== digest);
  return [{ digest, size, compression, isOurs, repositories }, ...others].slice(0, MAX_BLOBS);
}
