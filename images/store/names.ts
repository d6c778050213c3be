// From what a person calls an image to its digest.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ImageError } from '../errors.js';
import { familiarReference, type IdReference, type NameReference } from '../reference.js';
import { IMAGES, NAMES, nameOf, namePath } from './layout.js';
import { type ImageRecord, readRecord } from './record.js';

const DIGEST = /^sha256:[0-9a-f]{64}\n$/;

/** The image a name stands for, `sha256:<hex>`, or null. */
export function readName(home: string, name: NameReference): string | null {
  let text: string;
  try {
    text = readFileSync(namePath(home, name), 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
  if (!DIGEST.test(text)) {
    throw new ImageError('corrupt', `the stored name ${familiarReference(name)} is damaged: import the image again`);
  }
  return text.trimEnd();
}

/** What a name's file holds. */
export function nameContents(digest: string): string {
  return `${digest}\n`;
}

/**
 * Finds the image that a name, an ID or the beginning of an ID stands for.
 *
 * @param text the reference as it was given
 * @throws ImageError `unknown-image`, in Docker's words
 */
export function findRecord(home: string, reference: NameReference | IdReference, text: string): ImageRecord {
  const digest =
    reference.kind === 'id' ? reference.digest : (findByName(home, reference) ?? findByIdPrefix(home, text));
  const record = digest === null ? null : readRecord(home, digest);
  if (!record) throw unknownImage(reference.kind === 'id' ? text : familiarReference(reference));
  return record;
}

export function unknownImage(reference: string): ImageError {
  return new ImageError('unknown-image', `No such image: ${reference}`);
}

function findByName(home: string, name: NameReference): string | null {
  if (name.digest === null) return readName(home, name);
  for (const digest of imageDigests(home)) {
    if (digest === name.digest || readRecord(home, digest)?.manifest === name.digest) return digest;
  }
  return null;
}

function findByIdPrefix(home: string, text: string): string | null {
  const prefix = /^(?:sha256:)?([0-9a-f]{4,64})$/.exec(text)?.[1];
  if (prefix === undefined) return null;
  const found = imageDigests(home).filter((digest) => digest.startsWith(`sha256:${prefix}`));
  if (found.length > 1) {
    throw new ImageError('bad-reference', `the image ID ${text} is the beginning of ${found.length} images' IDs`);
  }
  return found[0] ?? null;
}

/** All images of the store, `sha256:<hex>`. */
export function imageDigests(home: string): string[] {
  return list(join(home, IMAGES))
    .filter((name) => /^[0-9a-f]{64}$/.test(name))
    .map((hex) => `sha256:${hex}`);
}

/** All names of the store. */
export function allNames(home: string): { name: NameReference; digest: string }[] {
  return list(join(home, NAMES)).flatMap((directory) =>
    list(join(home, NAMES, directory)).flatMap((tag) => {
      const name = nameOf(directory, tag);
      const digest = readName(home, name);
      return digest === null ? [] : [{ name, digest }];
    }),
  );
}

/** The names in a directory; none if it is not there. */
export function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}
