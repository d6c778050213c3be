// Chooses the modules that a distribution's kernel needs for a container, in the order in which
// they are loaded.
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { codeOf, messageOf } from '../../errors/index.js';
import { KernelError } from '../errors.js';
import { modulesFor } from './list.js';
import { type KernelModule, moduleName, readModule } from './module-file.js';
import type { KernelRelease } from './release.js';

/** What a modules folder has, /lib/modules/RELEASE. */
export interface ModulesFolder {
  path: string;
  /** Paths of the modules by name. */
  files: ReadonlyMap<string, string>;
  /** Names of the modules that are part of the kernel. */
  builtIn: ReadonlySet<string>;
}

/** @throws KernelError if the folder cannot be read or has no modules */
export async function readModulesFolder(path: string): Promise<ModulesFolder> {
  let names: string[];
  try {
    names = await readdir(path, { recursive: true });
  } catch (cause) {
    const why = codeOf(cause) === 'ENOENT' ? 'no such folder' : messageOf(cause);
    throw new KernelError(`kernel modules ${path}: ${why}`, { cause });
  }
  const files = new Map<string, string>();
  for (const name of names.sort()) {
    const [, module] = /^([\w-]+)\.ko(\.\w+)?$/.exec(basename(name)) ?? [];
    if (module !== undefined) files.set(moduleName(module), join(path, name));
  }
  if (files.size === 0)
    throw new KernelError(
      `kernel modules ${path}: no modules, name a folder such as /lib/modules/6.1.0-56-cloud-amd64`,
    );
  return { path, files, builtIn: await readBuiltIn(path) };
}

async function readBuiltIn(path: string): Promise<Set<string>> {
  let list: string;
  try {
    list = await readFile(join(path, 'modules.builtin'), 'utf8');
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return new Set();
    throw new KernelError(`kernel modules ${path}: ${messageOf(cause)}`, { cause });
  }
  const paths = list.split('\n').filter((line) => line !== '');
  return new Set(paths.map((line) => moduleName(basename(line, '.ko'))));
}

/**
 * The modules for a kernel, each after those that it depends on.
 * @throws KernelError if a needed one is missing, or one is for another release
 */
export async function chooseModules(
  folder: ModulesFolder,
  { release, transport }: KernelRelease,
): Promise<KernelModule[]> {
  const chosen = new Map<string, KernelModule>();
  const open = new Set<string>();
  const choose = async (name: string, dependent: string | undefined): Promise<void> => {
    if (chosen.has(name) || open.has(name) || folder.builtIn.has(name)) return;
    const file = folder.files.get(name);
    if (file === undefined) {
      const why = dependent === undefined ? 'which a container needs' : `which ${dependent} needs`;
      throw new KernelError(`kernel modules ${folder.path}: no module ${name}, ${why}`);
    }
    const module = await readModule(file);
    if (module.release !== release) {
      throw new KernelError(`kernel modules ${folder.path} are for ${module.release}, not for the kernel's ${release}`);
    }
    open.add(name);
    for (const needed of module.depends) await choose(needed, name);
    chosen.set(name, module);
  };
  for (const { name, needed } of modulesFor(transport)) {
    // A kernel without the module of a feature lacks the feature, or has it built in.
    if (needed || folder.files.has(name)) await choose(name, undefined);
  }
  return [...chosen.values()];
}
