// The manifests that an image was pushed with: the digest that each repository knows it by, the
// latest only.

import { join } from 'node:path';
import type { NameReference } from '../reference.js';
import { imagePath, PUSHED } from './layout.js';
import { readIfThere, readRecord } from './record.js';

const VERSION = 1;
const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** Digests of manifests by repository, `DOMAIN/PATH`. A damaged file has none. */
function readPushed(home: string, image: string): Map<string, string> {
  const text = readIfThere(join(imagePath(home, image), PUSHED));
  if (text === null) return new Map();
  try {
    const json = JSON.parse(text.toString()) as { version?: unknown; manifests?: Record<string, unknown> };
    if (json.version !== VERSION) return new Map();
    return new Map(
      Object.entries(json.manifests ?? {}).flatMap(([repository, digest]) =>
        typeof digest === 'string' && DIGEST.test(digest) ? [[repository, digest] as const] : [],
      ),
    );
  } catch {
    return new Map();
  }
}

/**
 * Finds the digests of an image's manifest in repositories: what it was pushed as, or what it came
 * with.
 *
 * @returns a function of a name in the repository; it returns null if none is known
 */
export function manifestsOf(home: string, image: string): (name: NameReference) => string | null {
  const pushed = readPushed(home, image);
  const own = readRecord(home, image)?.manifest ?? null;
  return ({ domain, path }) => pushed.get(`${domain}/${path}`) ?? own;
}

/** The contents of an image's file of pushed manifests, with one more. */
export function pushedFile(home: string, image: string, { domain, path }: NameReference, digest: string): string {
  const manifests = readPushed(home, image).set(`${domain}/${path}`, digest);
  return JSON.stringify({ version: VERSION, manifests: Object.fromEntries(manifests) });
}
