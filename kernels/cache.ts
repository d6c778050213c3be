// Where built kernels are. A kernel's name and the hash of its config fragments say which one is meant, so that it is
// found without its source. On the way of every run: nothing but node's own modules is loaded here.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** `guest` runs a container; `lab` is a host with KVM, in software. */
export const KERNEL_NAMES = ['guest', 'lab'] as const;
export type KernelName = (typeof KERNEL_NAMES)[number];

/** What the folder of a built kernel has: the ELF file, the compressed one, and the .config of both. */
export const KERNEL_FILES = ['vmlinux', 'bzImage', 'config'] as const;

/** Raised when build.ts makes a different kernel of the same fragments. */
const RECIPE = 1;

/** The bundles are in a folder beside this one, and so find it where this file itself would. */
const FRAGMENTS = fileURLToPath(new URL('../kernels/', import.meta.url));

export interface BuiltKernel {
  name: KernelName;
  /** of the source: 6.1.99, or Debian's 6.1.99-1 */
  version: string;
  hash: string;
  directory: string;
  /** made of the fragments as they are now */
  current: boolean;
}

/** The config fragments of a kernel, in the order in which they are merged. */
export function fragmentPaths(name: KernelName): string[] {
  return ['base', name].map((fragment) => join(FRAGMENTS, `${fragment}.config`));
}

/** What the fragments and the way they are built amount to: 16 hex digits. */
export function kernelHash(name: KernelName): string {
  return hashFragments(fragmentPaths(name).map((path) => readFileSync(path)));
}

/** The hash of fragments, by what they say and in which order. */
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

/** The folder of a kernel in the cache, whether it is built or not. */
export function directoryName(name: KernelName, version: string, hash: string): string {
  return `${name}-${version}-${hash}`;
}

/** Every whole kernel of the cache, by name, then newest version first. */
export function listKernels(cache: string = kernelCache()): BuiltKernel[] {
  const current = new Map<KernelName, string>();
  const kernels: BuiltKernel[] = [];
  for (const { name, version, hash, directory } of cached(cache)) {
    if (!current.has(name)) current.set(name, kernelHash(name));
    kernels.push({ name, version, hash, directory, current: current.get(name) === hash });
  }
  return kernels.sort((a, b) => a.name.localeCompare(b.name) || compareVersions(b.version, a.version));
}

/** The folder with `vmlinux`, `bzImage` and `config` of the newest kernel made of today's fragments. */
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

/** Number by number: 6.1.9 is before 6.1.10. */
function compareVersions(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}
