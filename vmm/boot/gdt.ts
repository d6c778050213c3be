// The global descriptor table of the 64-bit boot protocol (boot.rst, "64-bit Boot Protocol"), and
// the same segments in KVM's form. Descriptor formats: AMD64 manual volume 2, 4.8 "Long-Mode
// Segment Descriptors".
import type { GuestMemory } from '../host/memory.js';
import type { Segment } from '../kvm/segment.js';
import { GDT_ADDRESS } from './layout.js';

const BOOT_CS = 0x10;
const BOOT_DS = 0x18;
const BOOT_TSS = 0x20;
const GDT_SIZE = 0x30;

const flat = { base: 0, limit: 0xffffffff, present: 1, dpl: 0, s: 1, g: 1 };

/**
 * The boot CPU's segments: flat 4 GiB code and data, and the task state segment that long mode
 * requires.
 */
export const BOOT_SEGMENTS: { code: Segment; data: Segment; tss: Segment } = {
  code: { ...flat, selector: BOOT_CS, type: 0xb, db: 0, l: 1 },
  data: { ...flat, selector: BOOT_DS, type: 0x3, db: 1, l: 0 },
  tss: { ...flat, selector: BOOT_TSS, limit: 0x67, type: 0xb, s: 0, db: 0, l: 0, g: 0 },
};

/** Returns the 8 bytes of a segment whose base is 0, as low and high word. */
function descriptor(segment: Segment): [low: number, high: number] {
  const limit = segment.g === 1 ? segment.limit >>> 12 : segment.limit;
  const access = segment.type | (segment.s << 4) | (segment.dpl << 5) | (segment.present << 7);
  const flags = (segment.l << 1) | (segment.db << 2) | (segment.g << 3);
  return [limit & 0xffff, ((flags << 20) | (limit & 0xf0000) | (access << 8)) >>> 0];
}

/** Writes the table. Returns the value for the GDTR. */
export function writeGdt(memory: GuestMemory): { base: number; limit: number } {
  const bytes = memory.bytes(GDT_ADDRESS, GDT_SIZE);
  const table = new Uint32Array(bytes.buffer, bytes.byteOffset, GDT_SIZE / 4);
  for (const segment of Object.values(BOOT_SEGMENTS)) table.set(descriptor(segment), segment.selector / 4);
  return { base: GDT_ADDRESS, limit: GDT_SIZE - 1 };
}
