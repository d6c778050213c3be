// Finds the kernel's source: a given tree, or Debian's linux-source-* package.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { compareVersions, type KernelName } from './cache.js';
import { KernelError } from './errors.js';

/** Where Debian's packages put their tar files. */
const PACKAGES = '/usr/src';
const SUFFIX = '.tar.xz';

export interface KernelSource {
  version: string;
  /** The tree, or the tar file that contains it. */
  path: string;
  packed: boolean;
}

/** The package that each kernel is built from, and tested with. */
export const SOURCE_PACKAGES: Record<KernelName, string> = {
  guest: 'linux-source-6.1',
  lab: 'linux-source-6.1',
  // It changes the mappings of a program many at once: a fork and exec takes half of 6.1's time.
  uml: 'linux-source-6.12',
};

/**
 * The source to build; undefined if no tree is given and no package is installed.
 * @throws KernelError if the given folder is not a kernel source tree
 */
export async function findSource(kernel: KernelName, tree?: string): Promise<KernelSource | undefined> {
  if (tree !== undefined) return { version: treeVersion(tree), path: tree, packed: false };
  const name = choosePackage(kernel, existsSync(PACKAGES) ? readdirSync(PACKAGES) : []);
  if (name === undefined) return undefined;
  // The tar file's name says only 6.1. The package's version has the full number.
  const { stdout, failed } = await execa('dpkg-query', ['-W', name], { reject: false });
  const version = (!failed && stdout.split('\t')[1]) || name.slice('linux-source-'.length);
  return { version: version.replace(/[^\w.+~-]/g, '_'), path: join(PACKAGES, `${name}${SUFFIX}`), packed: true };
}

/**
 * The kernel's own package, else the newest of those after it.
 * @param files names in the folder of Debian's packages
 */
export function choosePackage(kernel: KernelName, files: readonly string[]): string | undefined {
  const own = SOURCE_PACKAGES[kernel];
  const usable = files
    .filter((file) => /^linux-source-[\d.]+\.tar\.xz$/.test(file))
    .map((file) => file.slice(0, -SUFFIX.length))
    .filter((name) => compareVersions(name, own) >= 0)
    .sort((a, b) => compareVersions(b, a));
  return usable.includes(own) ? own : usable[0];
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
