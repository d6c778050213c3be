// The lists of manifests that are made here, each in a file by its name: where each member is, and
// its descriptor. A member is an image in a registry, or one of the store that a build has made.

import { rmdir, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasCode } from '../../errors/index.js';
import { ImageError } from '../errors.js';
import { familiarReference, fullReference, type NameReference, parseName } from '../reference.js';
import { checkDigest } from '../source/config.js';
import { list, object, parseJson, string } from '../source/json.js';
import { indexOf, type ListedManifest, parseListed } from '../source/listed.js';
import { LISTS, listPath, nameOf, namePath } from './layout.js';
import { withStoreLock } from './lock.js';
import { list as namesIn, readName } from './names.js';
import { readIfThere } from './record.js';
import { moveTo, openWorkspace, syncDirectory, writeSynced } from './workspace.js';

const VERSION = 1;

/** A member of a list. */
export interface ListMember {
  /** The name in full that it was added by: `docker.io/library/debian:12`. */
  name: string;
  /** `DOMAIN/PATH` of the repository that has it. */
  repository: string;
  /** Of an image of the store: with its layers uncompressed. */
  manifest: ListedManifest;
  /** ID of the image in the store. Undefined: the member is in a registry. */
  image?: string;
}

/** Reads a list. Returns null if there is none. @throws ImageError `corrupt` */
export function readMembers(home: string, name: NameReference): ListMember[] | null {
  const bytes = name.digest === null ? readIfThere(listPath(home, name)) : null;
  if (bytes === null) return null;
  try {
    const json = object(parseJson(bytes, 'the list'), 'the list');
    if (json.version !== VERSION) throw new ImageError('corrupt', 'the list has another version');
    return list(json.members, "the list's members").map((value) => {
      const member = object(value, 'a member');
      return {
        name: string(member.name, "a member's name"),
        repository: string(member.repository, "a member's repository"),
        manifest: parseListed(member.manifest),
        ...(member.image !== undefined && { image: `sha256:${checkDigest(string(member.image, "a member's image"))}` }),
      };
    });
  } catch (cause) {
    const message = `the stored manifest list ${familiarReference(name)} is damaged: remove it`;
    throw new ImageError('corrupt', message, { cause });
  }
}

/** As `readMembers`, but a damaged list has no members. */
function membersIfWhole(home: string, name: NameReference): ListMember[] | null {
  try {
    return readMembers(home, name);
  } catch (error) {
    if (error instanceof ImageError) return null;
    throw error;
  }
}

/** As `readMembers`. @throws ImageError `unknown-image` in Docker's words if there is none */
export function findMembers(home: string, name: NameReference): ListMember[] {
  const members = readMembers(home, name);
  if (members === null) throw unknownList(name);
  return members;
}

/**
 * The images of the list that a build of several platforms gave a name, which has had no other image
 * since.
 */
export function builtMembers(home: string, name: NameReference): { manifest: ListedManifest; image: string }[] {
  const built = (readMembers(home, name) ?? []).flatMap(({ manifest, image }) => (image ? [{ manifest, image }] : []));
  const own = readName(home, name);
  return own === null || built.some(({ image }) => image === own) ? built : [];
}

export function unknownList(name: NameReference): ImageError {
  return new ImageError('unknown-image', `No such manifest: ${familiarReference(name)}`);
}

/**
 * Changes a list while no other process does.
 *
 * @param change gets the members, or null if there is no list; its error changes nothing
 * @throws ImageError `too-large`, `no-space`
 */
export async function changeMembers(
  home: string,
  name: NameReference,
  change: (members: ListMember[] | null) => ListMember[],
): Promise<void> {
  await using workspace = await openWorkspace(home);
  await withStoreLock(home, async () => {
    const before = readMembers(home, name);
    const members = change(before);
    // Nothing is stored that could not be pushed.
    indexOf(members.map(({ manifest }) => manifest));
    const file = join(workspace.path, 'list');
    await writeSynced(file, JSON.stringify({ version: VERSION, members }));
    await workspace.budget.check();
    await moveTo(file, listPath(home, name));
    await dropNames(home, before, members);
  });
}

/**
 * Takes the names by digest from images of a list that no longer has them. They keep other names.
 */
async function dropNames(home: string, before: readonly ListMember[] | null, after: readonly ListMember[]) {
  const kept = new Set(after.map(({ name }) => name));
  for (const { name, image } of before ?? []) {
    if (image === undefined || kept.has(name)) continue;
    const path = namePath(home, parseName(name));
    await unlink(path).catch(ignoreMissing);
    await rmdir(dirname(path)).catch(() => {});
  }
}

function ignoreMissing(error: unknown): void {
  if (!hasCode(error, 'ENOENT')) throw error;
}

/** The members with others. Those of the same name or manifest are replaced. */
export function withMembers(members: readonly ListMember[], added: readonly ListMember[]): ListMember[] {
  return added.reduce<ListMember[]>(withMember, [...members]);
}

function withMember(members: ListMember[], member: ListMember): ListMember[] {
  const isSame = ({ name, manifest }: ListMember) => name === member.name || manifest.digest === member.manifest.digest;
  const at = members.findIndex(isSame);
  if (at === -1) return [...members, member];
  return [...members.slice(0, at), member, ...members.slice(at + 1).filter((each) => !isSame(each))];
}

/** Removes a list. Needs no space. @throws ImageError `unknown-image` */
export async function removeList(home: string, name: NameReference): Promise<void> {
  const path = listPath(home, name);
  // Fails before the store is locked, so that a search does not create an empty store.
  if (name.digest !== null || readIfThere(path) === null) throw unknownList(name);
  await withStoreLock(home, async () => {
    const before = membersIfWhole(home, name);
    try {
      await unlink(path);
    } catch (error) {
      throw hasCode(error, 'ENOENT') ? unknownList(name) : error;
    }
    await dropNames(home, before, []);
    await syncDirectory(dirname(path));
    await rmdir(dirname(path)).catch(() => {});
  });
}

/** The names of all lists, in full. */
export function listNames(home: string): string[] {
  return namesIn(join(home, LISTS))
    .flatMap((directory) => namesIn(join(home, LISTS, directory)).map((tag) => fullReference(nameOf(directory, tag))))
    .sort();
}
