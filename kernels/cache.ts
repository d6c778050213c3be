// Finds built kernels. A kernel is identified by its name and the hash of its config fragments, so
// it is found without its source. Every run loads this file, so it imports only Node's own modules.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** `guest` runs a container; `lab` is a host with KVM, in software. */
export const KERNEL_NAMES = ['guest', 'lab'] as const;
export type KernelName = (typeof KERNEL_NAMES)[number];

/** The files of a built kernel: the ELF file, the compressed image, and the .config of both. */
export const KERNEL_FILES = ['vmlinux', 'bzImage', 'config'] as const;

/** Increased when build.ts makes a different kernel from the same fragments. */
const RECIPE = 1;

/** The bundles are in a folder beside this one, so this relative path holds for them too. */
const FRAGMENTS = fileURLToPath(new URL('../kernels/', import.meta.url));

export interface BuiltKernel {
  name: KernelName;
  /** The version of the source: 6.1.99, or Debian's 6.1.99-1. */
  version: string;
  hash: string;
  directory: string;
  /** True if it was made from the current fragments. */
  current: boolean;
}

/** The config fragments of a kernel, in the order in which they are merged. */
export function fragmentPaths(name: KernelName): string[] {
  return ['base', name].map((fragment) => join(FRAGMENTS, `${fragment}.config`));
}

/** The hash of a kernel's fragments and of the build recipe: 16 hex digits. */
export function kernelHash(name: KernelName): string {
  return hashFragments(fragmentPaths(name).map((path) => readFileSync(path)));
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
export function directoryName(name: KernelName, version: string, hash: string): string {
  return `${name}-${version}-${hash}`;
}

/** All kernels of the cache, by name, then newest version first. */
export function listKernels(cache: string = kernelCache()): BuiltKernel[] {
  const current = new Map<KernelName, string>();
  const kernels: BuiltKernel[] = [];
  for (const { name, version, hash, directory } of cached(cache)) {
    if (!current.has(name)) current.set(name, kernelHash(name));
    kernels.push({ name, version, hash, directory, current: current.get(name) === hash });
  }
  return kernels.sort((a, b) => a.name.localeCompare(b.name) || compareVersions(b.version, a.version));
}

/**
 * The folder with `vmlinux`, `bzImage` and `config` of the newest kernel made of today's fragments.
 */
export function kernelDirectory(name: KernelName = 'guest', cache: string = kernelCache()): string | undefined {
  const hash = kernelHash(name);
  return [...cached(cache)]
    .filter((kernel) => kernel.name === name && kernel.hash === hash)
    .sort((a, b) => compareVersions(b.version, a.version))[0]?.directory;
}

/** The ELF file to boot, or undefined if it is not built. */
export function kernelPath(name: KernelName = 'guest', cache: string = kernelCache()): string | undefined {
  const directory = kernelDirectory(name, cache);
  return directory && join(directory, 'vmlinux');
}

function* cached(cache: string) {
  let entries: string[];
  try {
    entries = readdirSync(cache);
  } catch {
    return;
  }
  for (const entry of entries) {
    const [, called, version, hash] = /^([a-z]+)-(.+)-([0-9a-f]{16})$/.exec(entry) ?? [];
    const name = KERNEL_NAMES.find((known) => known === called);
    const directory = join(cache, entry);
    if (version !== undefined && hash !== undefined && name && existsSync(join(directory, 'vmlinux'))) {
      yield { name, version, hash, directory };
    }
  }
}

/** Compares versions number by number: 6.1.9 is before 6.1.10. */
function compareVersions(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}
