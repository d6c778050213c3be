// Names of containers: $TSVM_HOME/containers/names/<name> is a symbolic link to an id. A link is made or not made at
// all, so that of many who want a name one gets it. Changes are made under one lock, so that a name whose owner is
// gone can be taken.
import { mkdirSync, readdirSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { SandboxError } from '../errors.js';
import { ContainerFolder, containersFolder } from './container-folder.js';
import { FileLock } from './lock.js';

const NAMES = 'names';
const LOCK = 'lock';
/** Milliseconds. The lock is held for the time that it takes to write a few small files. */
const PATIENCE = 60_000;
/** Docker's. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
/** What a file name may have. */
const MAX_NAME = 255;

/** Runs `change` while nobody else makes, names or renames a container. */
export async function withContainersLock<T>(home: string, change: () => T): Promise<T> {
  const folder = containersFolder(home);
  try {
    mkdirSync(join(folder, NAMES), { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new SandboxError('state', `cannot make ${folder}: ${(cause as Error).message}`, { cause });
  }
  using _lock = await FileLock.wait(join(folder, LOCK), PATIENCE);
  return change();
}

/** @throws SandboxError `bad-spec` */
export function checkName(name: string): void {
  if (NAME.test(name) && name.length <= MAX_NAME) return;
  throw new SandboxError(
    'bad-spec',
    `invalid container name '${name.slice(0, MAX_NAME)}': letters, digits, '_', '.' and '-' are possible, two at least`,
  );
}

/**
 * Takes a name for a container. Under the lock.
 * @throws SandboxError `conflict` when another one has it
 */
export function claimName(home: string, name: string, id: string): void {
  const owner = ownerOf(home, name);
  if (owner !== undefined && owner !== id) {
    throw new SandboxError(
      'conflict',
      `the name '${name}' is in use by container ${owner.slice(0, 12)}: remove or rename it`,
    );
  }
  const path = namePath(home, name);
  rmSync(path, { force: true });
  symlinkSync(id, path);
}

/** Gives the container `id` another name. Under the lock. @throws SandboxError `conflict`, `bad-spec` */
export function renameContainer(home: string, id: string, name: string): void {
  checkName(name);
  const old = nameOf(home, id);
  if (old === name) throw new SandboxError('bad-spec', `the container is named '${name}' already`);
  claimName(home, name, id);
  if (old !== undefined) rmSync(namePath(home, old), { force: true });
}

/** Frees the name of a container. Under the lock. */
export function releaseName(home: string, id: string): void {
  const name = nameOf(home, id);
  if (name !== undefined) rmSync(namePath(home, name), { force: true });
}

/** Name by id. */
export function allNames(home: string): Map<string, string> {
  const names = new Map<string, string>();
  let found: string[];
  try {
    found = readdirSync(join(containersFolder(home), NAMES));
  } catch {
    return names;
  }
  for (const name of found) {
    const id = target(home, name);
    if (id !== undefined) names.set(id, name);
  }
  return names;
}

export function nameOf(home: string, id: string): string | undefined {
  return allNames(home).get(id);
}

/** The id of the container that has a name; nothing if it is free. */
export function ownerOf(home: string, name: string): string | undefined {
  if (!NAME.test(name) || name.length > MAX_NAME) return undefined;
  const id = target(home, name);
  return id !== undefined && new ContainerFolder(home, id).config() !== undefined ? id : undefined;
}

function target(home: string, name: string): string | undefined {
  try {
    return readlinkSync(namePath(home, name));
  } catch {
    return undefined;
  }
}

function namePath(home: string, name: string): string {
  return join(containersFolder(home), NAMES, name);
}
