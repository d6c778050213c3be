// Finds built kernels. A kernel is identified by its name and the hash of its config fragments and
// patches, so it is found without its source. Every run loads this file, so it imports little.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { sourceFile } from '../installation/index.js';

/**
 * `guest` runs a container; `lab` is a host with KVM, in software; `uml` runs a container as a
 * process of the host.
 */
export const KERNEL_NAMES = ['guest', 'lab', 'uml'] as const;
export type KernelName = (typeof KERNEL_NAMES)[number];

/**
 * The files of a built kernel: the .config, the compressed image, and the ELF file, which comes last.
 * User-Mode Linux has no compressed image.
 */
export const KERNEL_FILES: Record<KernelName, readonly string[]> = {
  guest: ['config', 'bzImage', 'vmlinux'],
  lab: ['config', 'bzImage', 'vmlinux'],
  uml: ['config', 'vmlinux'],
};

/** The config fragments of each kernel, in the order in which they are merged. */
const FRAGMENTS_OF: Record<KernelName, readonly string[]> = {
  guest: ['base', 'guest'],
  lab: ['base', 'lab'],
  uml: ['base', 'guest', 'uml'],
};

/** The changes to the source of each kernel. */
const PATCHES_OF: Record<KernelName, readonly string[]> = { guest: [], lab: [], uml: ['uml-fork'] };

/** Increased when build.ts makes a different kernel from the same fragments and patches. */
const RECIPE = 1;

const FRAGMENTS = sourceFile('kernels');

export interface KernelFolder {
  name: KernelName;
  /** The version of the source: 6.1.99, or Debian's 6.1.99-1. */
  version: string;
  hash: string;
  directory: string;
}

export interface BuiltKernel extends KernelFolder {
  /** True if it was made from the current fragments. */
  current: boolean;
}

/** The config fragments of a kernel, in the order in which they are merged. */
export function fragmentPaths(name: KernelName): string[] {
  return FRAGMENTS_OF[name].map((fragment) => join(FRAGMENTS, `${fragment}.config`));
}

/** The changes to a kernel's source, for patch(1), in the order in which they are made. */
export function patchPaths(name: KernelName): string[] {
  return PATCHES_OF[name].map((patch) => join(FRAGMENTS, `${patch}.patch`));
}

/** The hash of a kernel's fragments and patches, and of the build recipe: 16 hex digits. */
export function kernelHash(name: KernelName): string {
  return hashFragments([...fragmentPaths(name), ...patchPaths(name)].map((path) => readFileSync(path)));
}

/** The hash of fragments: of their contents and order. */
export function hashFragments(fragments: readonly Uint8Array[]): string {
  const hash = createHash('sha256').update(`recipe ${RECIPE}\n`);
  for (const fragment of fragments) hash.update(`${fragment.length}\n`).update(fragment);
  return hash.digest('hex').slice(0, 16);
}

/** The folder of built kernels: $TSVM_KERNEL_CACHE, or tsvm/kernels in the user's cache folder. */
export function kernelCache(environment: NodeJS.ProcessEnv = process.env): string {
  if (environment.TSVM_KERNEL_CACHE) return environment.TSVM_KERNEL_CACHE;
  return join(environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'tsvm', 'kernels');
}

/** The name of a kernel's folder in the cache. The kernel need not be built. */
export function directoryName(name: string, version: string, hash: string): string {
  return `${name}-${version}-${hash}`;
}

/**
 * All kernels of the cache, by name, then newest version first.
 * @param file what makes a folder a kernel
 */
export function listKernels(cache: string = kernelCache(), file = 'vmlinux'): BuiltKernel[] {
  const current = new Map<KernelName, string>();
  const kernels: BuiltKernel[] = [];
  for (const kernel of foldersWith(file, cache)) {
    if (!current.has(kernel.name)) current.set(kernel.name, kernelHash(kernel.name));
    kernels.push({ ...kernel, current: current.get(kernel.name) === kernel.hash });
  }
  return kernels.sort((a, b) => compareText(a.name, b.name) || compareVersions(b.version, a.version));
}

/**
 * The newest kernel made of today's fragments, among the folders that have a file.
 * @param file what makes a folder a kernel
 * @param parent the cache's folder
 */
export function newestKernel(name: KernelName, file: string, parent: string): KernelFolder | undefined {
  const hash = kernelHash(name);
  return foldersWith(file, parent)
    .filter((kernel) => kernel.name === name && kernel.hash === hash)
    .sort((a, b) => compareVersions(b.version, a.version))[0];
}

/**
 * The folder with `vmlinux`, `bzImage` and `config` of the newest kernel made of today's fragments.
 * One that came with the package has no `bzImage`.
 */
export function kernelDirectory(name: KernelName = 'guest', cache: string = kernelCache()): string | undefined {
  return newestKernel(name, 'vmlinux', cache)?.directory;
}

function foldersWith(file: string, parent: string): KernelFolder[] {
  let entries: string[];
  try {
    entries = readdirSync(parent);
  } catch {
    return [];
  }
  return entries.flatMap((entry) => {
    const [, called, version, hash] = /^([a-z]+)-(.+)-([0-9a-f]{16})$/.exec(entry) ?? [];
    const name = KERNEL_NAMES.find((known) => known === called);
    const directory = join(parent, entry);
    if (version === undefined || hash === undefined || !name || !existsSync(join(directory, file))) return [];
    return [{ name, version, hash, directory }];
  });
}

/** Compares versions number by number: 6.1.9 is before 6.1.10. */
export function compareVersions(a: string, b: string): number {
  return compareText(withWideNumbers(a), withWideNumbers(b));
}

function withWideNumbers(version: string): string {
  return version.replace(/\d+/g, (digits) => digits.padStart(20, '0'));
}

/** Orders texts by their code units. Every run orders some: to load the order of a locale takes 10 ms. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
