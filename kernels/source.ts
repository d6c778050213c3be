// Finds the kernel's source: a given tree, or Debian's linux-source-* package.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { KernelError } from './errors.js';

/** Where Debian's packages put their tar files. */
const PACKAGES = '/usr/src';

export interface KernelSource {
  version: string;
  /** The tree, or the tar file that contains it. */
  path: string;
  packed: boolean;
}

/**
 * The source to build; undefined if no tree is given and no package is installed.
 * @throws KernelError if the given folder is not a kernel source tree
 */
export async function findSource(tree?: string): Promise<KernelSource | undefined> {
  if (tree !== undefined) return { version: treeVersion(tree), path: tree, packed: false };
  const newest = (existsSync(PACKAGES) ? readdirSync(PACKAGES) : [])
    .filter((file) => /^linux-source-[\d.]+\.tar\.xz$/.test(file))
    .sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))[0];
  if (newest === undefined) return undefined;
  const name = newest.slice(0, -'.tar.xz'.length);
  // The tar file's name says only 6.1. The package's version has the full number.
  const { stdout, failed } = await execa('dpkg-query', ['-W', name], { reject: false });
  const version = (!failed && stdout.split('\t')[1]) || name.slice('linux-source-'.length);
  return { version: version.replace(/[^\w.+~-]/g, '_'), path: join(PACKAGES, newest), packed: true };
}

/** The version in a tree's top Makefile, as `make kernelversion` prints it. */
export function treeVersion(tree: string): string {
  let makefile: string;
  try {
    makefile = readFileSync(join(tree, 'Makefile'), 'utf8');
  } catch (cause) {
    throw new KernelError(`${tree} is not a kernel source tree: it has no Makefile that can be read`, { cause });
  }
  const variableOf = (name: string): string => new RegExp(`^${name} *= *(\\S*)$`, 'm').exec(makefile)?.[1] ?? '';
  const major = variableOf('VERSION');
  const minor = variableOf('PATCHLEVEL');
  const patch = variableOf('SUBLEVEL');
  if (!/^\d+$/.test(major) || !/^\d+$/.test(minor)) {
    throw new KernelError(`${tree} is not a kernel source tree: its Makefile says no VERSION`);
  }
  return `${major}.${minor}${patch && `.${patch}`}${variableOf('EXTRAVERSION')}`;
}
