// Loads a kernel in either of the two formats.
import { type HostFiles, OWN_FILES } from '../host/files.js';
import type { GuestMemory } from '../host/memory.js';
import { BootFile } from './boot-file.js';
import { isBzImage, loadBzImage } from './bzimage.js';
import { loadElf } from './elf.js';
import type { LoadedKernel } from './loaded.js';
import { SETUP_HEADER_END } from './setup-header.js';

/** "\x7fELF" */
const ELF_MAGIC = 0x464c457f;

/**
 * Loads an ELF vmlinux or a bzImage into `memory`, which must be fresh: all zero.
 * @throws MachineError `bad-kernel` if the file is not a bootable kernel, `bad-spec` if memory is
 * too small
 */
export function loadKernel(memory: GuestMemory, kernelPath: string, files: HostFiles = OWN_FILES): LoadedKernel {
  using file = new BootFile('kernel', kernelPath, 'bad-kernel', files);
  const head = new Uint8Array(Math.min(SETUP_HEADER_END, file.size));
  file.read(0, head);
  const view = new DataView(head.buffer);
  if (head.length >= 64 && view.getUint32(0, true) === ELF_MAGIC) return loadElf(memory, file, head);
  if (isBzImage(view)) return loadBzImage(memory, file, head);
  throw file.error('not a kernel: neither an ELF vmlinux nor a bzImage');
}
