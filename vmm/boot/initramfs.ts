// Loads the initial RAM file system as high below the hole as the kernel accepts, to leave the
// kernel its room.
import { type HostFiles, OWN_FILES } from '../host/files.js';
import { type GuestMemory, PAGE_SIZE } from '../host/memory.js';
import { BootFile } from './boot-file.js';
import type { LoadedInitramfs, LoadedKernel } from './loaded.js';
import { tooLittleMemory } from './placement.js';

/**
 * Loads the file at `path` for `kernel`, which must be loaded already.
 * @throws MachineError `bad-spec` if the file is empty or cannot be read, or if memory is too small
 */
export function loadInitramfs(
  memory: GuestMemory,
  path: string,
  kernel: LoadedKernel,
  files: HostFiles = OWN_FILES,
): LoadedInitramfs {
  using file = new BootFile('initramfs', path, 'bad-spec', files);
  const { size } = file;
  if (size === 0) throw file.error('empty');
  const address = Math.floor((kernel.initramfsLimit - size) / PAGE_SIZE) * PAGE_SIZE;
  if (address < kernel.end) throw tooLittleMemory(memory, 'kernel and initramfs', kernel.end + size);
  if (size > 2 ** 30) throw file.error('larger than 1 GiB');
  file.read(0, memory.bytes(address, size));
  return { address, size };
}
