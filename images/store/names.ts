// From the name, ID or ID prefix that a user writes to the digest of the image.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode } from '../../errors/index.js';
import { ImageError } from '../errors.js';
import { familiarReference, type IdReference, type NameReference, parseReference } from '../reference.js';
import { hex, IMAGES, imagePath, NAMES, nameOf, namePath, TMP } from './layout.js';
import { manifestsOf } from './pushed.js';

const DIGEST = /^sha256:[0-9a-f]{64}\n$/;

/** Returns the ID of the image with this name, `sha256:<hex>`, or null. */
export function readName(home: string, name: NameReference): string | null {
  const text = readNameFile(home, name);
  if (text === null) return null;
  if (!DIGEST.test(text)) {
    throw new ImageError('corrupt', `the stored name ${familiarReference(name)} is damaged: import the image again`);
  }
  return text.trimEnd();
}

function readNameFile(home: string, name: NameReference): string | null {
  try {
    return readFileSync(namePath(home, name), 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return null;
    throw error;
  }
}

/** The contents of a name's file. */
export function nameContents(digest: string): string {
  return `${digest}\n`;
}

/**
 * Finds the image that a name, an ID or the beginning of an ID stands for.
 *
 * @param text the reference as the user wrote it
 * @returns the image ID, `sha256:<hex>`
 * @throws ImageError `unknown-image`, worded as Docker does
 */
export function findImage(home: string, reference: NameReference | IdReference, text: string): string {
  const digest = tryFindImage(home, reference, text);
  if (digest === null) throw unknownImage(reference.kind === 'id' ? text : familiarReference(reference));
  return digest;
}

/** As `findImage`, but returns null if the store lacks the image. */
export function tryFindImage(home: string, reference: NameReference | IdReference, text: string): string | null {
  const digest =
    reference.kind === 'id' ? reference.digest : (findByName(home, reference) ?? findByIdPrefix(home, text));
  return digest !== null && existsSync(imagePath(home, digest)) ? digest : null;
}

/**
 * As `findImage`, for text that must be a name or an ID in the store.
 *
 * @throws ImageError `bad-reference`, `unknown-image`
 */
export function findStored(home: string, text: string): { digest: string; reference: NameReference | IdReference } {
  const reference = parseReference(text);
  if (reference.kind !== 'name' && reference.kind !== 'id') {
    throw new ImageError('bad-reference', `${text} is not a stored image: give a name or an ID`);
  }
  return { digest: findImage(home, reference, text), reference };
}

export function unknownImage(reference: string): ImageError {
  return new ImageError('unknown-image', `No such image: ${reference}`);
}

function findByName(home: string, name: NameReference): string | null {
  const named = readName(home, name);
  if (named !== null || name.digest === null) return named;
  for (const digest of imageDigests(home)) {
    if (digest === name.digest || manifestsOf(home, digest)(name) === name.digest) return digest;
  }
  return null;
}

function findByIdPrefix(home: string, text: string): string | null {
  const prefix = /^(?:sha256:)?([0-9a-f]{1,64})$/.exec(text)?.[1];
  if (prefix === undefined) return null;
  const found = imageDigests(home).filter((digest) => digest.startsWith(`sha256:${prefix}`));
  if (found.length > 1) {
    throw new ImageError('bad-reference', `the image ID ${text} is ambiguous: ${found.length} image IDs begin with it`);
  }
  return found[0] ?? null;
}

/** The IDs of all images in the store, `sha256:<hex>`. */
export function imageDigests(home: string): string[] {
  return list(join(home, IMAGES))
    .filter((name) => /^[0-9a-f]{64}$/.test(name))
    .map((hex) => `sha256:${hex}`);
}

/**
 * The file that makes an image one of a workspace's own: it is not listed, and is removed with the
 * workspace, also if its process is killed.
 */
export function ownImageFile(workspace: string, digest: string): string {
  return join(workspace, IMAGES, hex(digest));
}

/** The IDs of a workspace's own images. */
export function ownImages(workspace: string): string[] {
  return list(join(workspace, IMAGES)).map((digits) => `sha256:${digits}`);
}

/** The IDs of images that belong to workspaces. */
export function temporaryImages(home: string): Set<string> {
  return new Set(list(join(home, TMP)).flatMap((name) => ownImages(join(home, TMP, name))));
}

/** All names in the store, except those whose files are damaged. */
export function allNames(home: string): { name: NameReference; digest: string }[] {
  return list(join(home, NAMES)).flatMap((directory) =>
    list(join(home, NAMES, directory)).flatMap((tag) => {
      const name = nameOf(directory, tag);
      const text = readNameFile(home, name);
      return text !== null && DIGEST.test(text) ? [{ name, digest: text.trimEnd() }] : [];
    }),
  );
}

/** The names in a directory. Returns an empty list if the directory does not exist. */
export function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}
