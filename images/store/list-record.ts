// The lists of manifests that are made here, each in a file by its name: where each member is, and
// its descriptor. No member is in the store.

import { rmdir, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasCode } from '../../errors/index.js';
import { ImageError } from '../errors.js';
import { familiarReference, fullReference, type NameReference } from '../reference.js';
import { list, object, parseJson, string } from '../source/json.js';
import { indexOf, type ListedManifest, parseListed } from '../source/listed.js';
import { LISTS, listPath, nameOf } from './layout.js';
import { withStoreLock } from './lock.js';
import { list as namesIn } from './names.js';
import { readIfThere } from './record.js';
import { moveTo, openWorkspace, syncDirectory, writeSynced } from './workspace.js';

const VERSION = 1;

/** A member of a list. */
export interface ListMember {
  /** The name in full that it was added by: `docker.io/library/debian:12`. */
  name: string;
  /** `DOMAIN/PATH` of the repository that has it. */
  repository: string;
  manifest: ListedManifest;
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
      };
    });
  } catch (cause) {
    const message = `the stored manifest list ${familiarReference(name)} is damaged: remove it`;
    throw new ImageError('corrupt', message, { cause });
  }
}

/** As `readMembers`. @throws ImageError `unknown-image` in Docker's words if there is none */
export function findMembers(home: string, name: NameReference): ListMember[] {
  const members = readMembers(home, name);
  if (members === null) throw unknownList(name);
  return members;
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
    const members = change(readMembers(home, name));
    // Nothing is stored that could not be pushed.
    indexOf(members.map(({ manifest }) => manifest));
    const file = join(workspace.path, 'list');
    await writeSynced(file, JSON.stringify({ version: VERSION, members }));
    await workspace.budget.check();
    await moveTo(file, listPath(home, name));
  });
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
    try {
      await unlink(path);
    } catch (error) {
      throw hasCode(error, 'ENOENT') ? unknownList(name) : error;
    }
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
