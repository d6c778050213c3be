// Makes of a distribution's kernel what a machine boots: the kernel, decompressed, and an archive
// of the modules that it needs. It is made once for each kernel, and cached.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { vmlinuxOf } from '../vmlinux.js';
import { makeWorkFolder, placeFiles } from '../work-folder.js';
import { chooseModules, type ModulesFolder, readModulesFolder } from './choose.js';
import { cpio } from './cpio.js';
import { withoutDebug } from './elf.js';
import { modulesRecipe, type Transport } from './list.js';
import { kernelRelease } from './release.js';

/** The kernel, an ELF vmlinux, a bzImage or User-Mode Linux, and the archive. */
export const PREPARED_FILES = ['kernel', 'modules.cpio'] as const;

/** The folder of the archive, which the agent reads (guest-agent/boot/modules.c). */
const FOLDER = 'modules';

/**
 * Prepares the kernel at a path with modules of a folder.
 * @param target an empty folder
 * @param transport default: that of a machine of tsvm
 * @throws KernelError
 */
export async function prepareKernel(
  path: string,
  modules: ModulesFolder,
  target: string,
  transport?: Transport,
): Promise<void> {
  const found = kernelRelease(path);
  const release = { ...found, transport: transport ?? found.transport };
  const chosen = await chooseModules(modules, release);
  const named = chosen.map(({ name, bytes }, index) => ({
    name: `${String(index).padStart(3, '0')}-${name}.ko`,
    bytes: withoutDebug(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)),
  }));
  await writeFile(join(target, 'modules.cpio'), cpio(FOLDER, named));
  const image = await readFile(path);
  const kernel = join(target, 'kernel');
  await writeFile(kernel, (await vmlinuxOf(image)) ?? image);
  // A machine's user executes that of User-Mode Linux, whatever the umask of this one is.
  if (release.transport === 'virtio_uml') await chmod(kernel, 0o755);
}

/**
 * Prepares the kernel at a path with modules of a folder, unless the cache has it.
 * @returns the folder with the result
 * @throws KernelError
 */
export async function preparedKernel(path: string, folder: string, cache: string): Promise<string> {
  const modules = await readModulesFolder(folder);
  const directory = join(cache, `prepared-${await inputsHash(path, modules)}`);
  if (PREPARED_FILES.every((file) => existsSync(join(directory, file)))) return directory;
  const work = makeWorkFolder(cache);
  try {
    const result = join(work, 'result');
    await mkdir(result);
    await prepareKernel(path, modules, result);
    placeFiles(result, directory, PREPARED_FILES);
    return directory;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** A hash of what decides on the result: which files there are, and when each was changed. */
async function inputsHash(kernel: string, { files, builtIn }: ModulesFolder): Promise<string> {
  const { release, transport } = kernelRelease(kernel);
  const recipe = modulesRecipe(transport);
  const hash = createHash('sha256').update(`${recipe}\n${release}\n${[...builtIn].join(' ')}\n`);
  for (const path of [kernel, ...files.values()]) {
    const { size, mtimeMs } = await stat(path);
    hash.update(`${path}\0${size} ${mtimeMs}\n`);
  }
  return hash.digest('hex').slice(0, 16);
}
