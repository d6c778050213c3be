// Kernels that came with the package: compressed, each in a folder with the name that it gets in the
// cache. The first run that needs one unpacks it there. `package.mjs` writes them.
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { codeOf, messageOf } from '../errors/index.js';
import { builtFile } from '../installation/index.js';
import {
  type BuiltKernel,
  compareVersions,
  type KernelFolder,
  type KernelName,
  kernelCache,
  listKernels,
  newestKernel,
} from './cache.js';
import { KernelError } from './errors.js';
import { makeWorkFolder, placeFiles } from './work-folder.js';

const PACKED = builtFile('kernels');
const MANIFEST = 'manifest.json';

/** What is known of a packed kernel. */
interface Manifest {
  /** What was compiled: Debian's package and its version, or the version of a source tree. */
  source: string;
  /** The compiler, as it calls itself. */
  compiler: string;
  /** The config fragments, and the SHA-256 of each. */
  fragments: Record<string, string>;
  /** The kernel's files in the order in which they get their places. */
  files: { name: string; size: number; sha256: string; compressed: boolean }[];
}

/** A kernel that can be booted, also if it is still packed. */
export interface AvailableKernel extends KernelFolder {
  /** Present if the package has it. */
  packed?: Manifest;
  /** True if the cache has it. */
  isUnpacked: boolean;
}

/** The newest kernel made of today's fragments, of the cache and the package. Nothing is unpacked. */
export function availableKernel(
  name: KernelName = 'guest',
  cache: string = kernelCache(),
  packed: string = PACKED,
): AvailableKernel | undefined {
  const built = newestKernel(name, 'vmlinux', cache);
  const ours = newestKernel(name, MANIFEST, packed);
  if (ours === undefined) return built && { ...built, isUnpacked: true };
  if (built !== undefined && compareVersions(built.version, ours.version) > 0) return { ...built, isUnpacked: true };
  const isUnpacked = built?.version === ours.version;
  const directory = join(cache, basename(ours.directory));
  return { ...ours, directory, packed: readManifest(ours.directory), isUnpacked };
}

/**
 * The ELF file to boot, or undefined if there is none. A packed kernel is unpacked first: a quarter of
 * a second, once.
 * @throws KernelError if it cannot be unpacked
 */
export function kernelPath(
  name: KernelName = 'guest',
  cache: string = kernelCache(),
  packed: string = PACKED,
): string | undefined {
  const kernel = availableKernel(name, cache, packed);
  if (kernel === undefined) return undefined;
  if (!kernel.isUnpacked && kernel.packed) unpack(kernel.packed, join(packed, basename(kernel.directory)), cache);
  return join(kernel.directory, 'vmlinux');
}

/** The kernels that came with the package, and their manifests. */
export function packedKernels(packed: string = PACKED): (BuiltKernel & { packed: Manifest })[] {
  return listKernels(packed, MANIFEST).map((kernel) => ({ ...kernel, packed: readManifest(kernel.directory) }));
}

function readManifest(directory: string): Manifest {
  return JSON.parse(readFileSync(join(directory, MANIFEST), 'utf8')) as Manifest;
}

function unpack({ files }: Manifest, from: string, cache: string): void {
  const work = makeWorkFolder(cache);
  try {
    for (const { name, size, sha256, compressed } of files) {
      const stored = readFileSync(join(from, compressed ? `${name}.br` : name));
      const data = compressed ? brotliDecompressSync(stored, { maxOutputLength: size }) : stored;
      if (createHash('sha256').update(data).digest('hex') !== sha256) throw damaged();
      writeFileSync(join(work, name), data);
    }
    const names = files.map(({ name }) => name);
    placeFiles(work, join(cache, basename(from)), names);
  } catch (cause) {
    if (cause instanceof KernelError) throw cause;
    // Of zlib: Node.js gives its errors a code of their own.
    if (/^(ERR__ERROR_|ERR_BUFFER_TOO_LARGE|Z_)/.test(codeOf(cause) ?? '')) throw damaged(cause);
    const megabytes = Math.ceil(files.reduce((sum, { size }) => sum + size, 0) / 1e6);
    throw new KernelError(
      `cannot unpack the guest kernel (${megabytes} MB): ${messageOf(cause)} (TSVM_KERNEL_CACHE names another folder)`,
      { cause },
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function damaged(cause?: unknown): KernelError {
  return new KernelError('the guest kernel in the package is damaged: install tsvm again', { cause });
}
