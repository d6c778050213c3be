// Loads the initial RAM file system as high below the hole as the kernel accepts, to leave the
// kernel its room.
import { type HostFiles, OWN_FILES } from '../host/files.js';
import { type GuestMemory, PAGE_SIZE } from '../host/memory.js';
import type { MachineSpec } from '../machine.js';
import { BootFile } from './boot-file.js';
import type { LoadedInitramfs, LoadedKernel } from './loaded.js';
import { tooLittleMemory } from './placement.js';

/** The kernel looks for the next archive at the next such address. */
const ALIGNMENT = 4;

/** The files of a machine's initial RAM file system. */
export function initramfsPaths({ initramfs, modules }: Pick<MachineSpec, 'initramfs' | 'modules'>): string[] {
  return modules === undefined ? [initramfs] : [initramfs, modules];
}

/**
 * Loads the files at `paths`, one after the other, for `kernel`, which must be loaded already.
 * @throws MachineError `bad-spec` if a file is empty or cannot be read, or if memory is too small
 */
export function loadInitramfs(
  memory: GuestMemory,
  paths: readonly string[],
  kernel: LoadedKernel,
  files: HostFiles = OWN_FILES,
): LoadedInitramfs {
  const parts: BootFile[] = [];
  try {
    for (const path of paths) parts.push(new BootFile('initramfs', path, 'bad-spec', files));
    return load(memory, parts, kernel);
  } finally {
    for (const file of parts) file[Symbol.dispose]();
  }
}

function load(memory: GuestMemory, parts: readonly BootFile[], kernel: LoadedKernel): LoadedInitramfs {
  const offsets: number[] = [];
  let size = 0;
  for (const file of parts) {
    if (file.size === 0) throw file.error('empty');
    if (file.size > 2 ** 30) throw file.error('larger than 1 GiB');
    size = Math.ceil(size / ALIGNMENT) * ALIGNMENT;
    offsets.push(size);
    size += file.size;
  }
  const address = Math.floor((kernel.initramfsLimit - size) / PAGE_SIZE) * PAGE_SIZE;
  if (address < kernel.end) throw tooLittleMemory(memory, 'kernel and initramfs', kernel.end + size);
  for (const [index, file] of parts.entries()) {
    file.read(0, memory.bytes(address + (offsets[index] ?? 0), file.size));
  }
  return { address, size };
}
