// Reads a kernel module: an ELF file whose section `.modinfo` says what it is
// (include/linux/moduleinfo.h in the kernel's source), as it is or compressed.
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { execa } from 'execa';
import { messageOf } from '../../errors/index.js';
import { findProgram } from '../../programs/index.js';
import { KernelError } from '../errors.js';
import { findSection } from './elf.js';

/** The largest of Debian's has 6 MiB. */
const MAX_MODULE = 64 * 2 ** 20;

export interface KernelModule {
  /** With `_` for `-`. */
  name: string;
  /** Names of the modules that must be loaded before it. */
  depends: string[];
  /** Release of the kernel that it is for. */
  release: string;
  /** The ELF file. */
  bytes: Uint8Array;
}

/** The kernel takes `-` and `_` for one another in names of modules. */
export function moduleName(text: string): string {
  return text.replaceAll('-', '_');
}

/** Programs that decompress, each also the name of its Debian package or of one that has it. */
const PROGRAMS: Record<string, { program: string; debianPackage: string }> = {
  '.xz': { program: 'xz', debianPackage: 'xz-utils' },
  '.zst': { program: 'zstd', debianPackage: 'zstd' },
};

/** @throws KernelError if the file is no module for x86-64 */
export async function readModule(path: string): Promise<KernelModule> {
  let bytes: Uint8Array;
  try {
    bytes = await readPlain(path);
  } catch (cause) {
    if (cause instanceof KernelError) throw cause;
    throw new KernelError(`module ${path} cannot be read: ${messageOf(cause)}`, { cause });
  }
  const info = moduleInfo(bytes);
  const name = info?.get('name');
  const release = info?.get('vermagic')?.split(' ')[0];
  if (info === undefined || name === undefined || release === undefined) {
    throw new KernelError(`${path} is not a kernel module`);
  }
  const depends = (info.get('depends') ?? '').split(',').filter((each) => each !== '');
  return { name: moduleName(name), depends: depends.map(moduleName), release, bytes };
}

async function readPlain(path: string): Promise<Uint8Array> {
  const suffix = /\.ko(\.\w+)?$/.exec(path)?.[1];
  if (suffix === undefined) return readFile(path);
  if (suffix === '.gz') return promisify(gunzip)(await readFile(path), { maxOutputLength: MAX_MODULE });
  const known = PROGRAMS[suffix];
  if (known === undefined) throw new KernelError(`module ${path}: unknown compression ${suffix}`);
  const { program, debianPackage } = known;
  const found = findProgram(program);
  if (found === undefined) {
    throw new KernelError(`module ${path} is compressed: apt-get install ${debianPackage}`);
  }
  const options = { input: await readFile(path), encoding: 'buffer', maxBuffer: MAX_MODULE } as const;
  return (await execa(found, ['-dcq'], options)).stdout;
}

/** The fields of `.modinfo`; undefined if the bytes are no ELF file with such a section. */
function moduleInfo(bytes: Uint8Array): Map<string, string> | undefined {
  const section = findSection(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), '.modinfo');
  if (section === undefined) return undefined;
  const fields = new Map<string, string>();
  for (const field of section.toString('latin1').split('\0')) {
    const [, key, value] = /^(\w+)=(.*)$/s.exec(field) ?? [];
    if (key !== undefined && value !== undefined && !fields.has(key)) fields.set(key, value);
  }
  return fields;
}
