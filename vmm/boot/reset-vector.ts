// Takes an x86 CPU from its reset to a Linux kernel's 64-bit entry point, for a machine whose CPU
// starts as hardware does: a firmware image of a few dozen instructions. They use the boot data in
// guest memory (boot-state.ts). AMD64 manual volume 2, 14.1.3 "Processor Initialization State" and
// 14.6 "Initializing Long Mode".
import type { GuestMemory } from '../host/memory.js';
import type { BootRegisters } from './boot-state.js';
import { HIGH_MEMORY_START } from './layout.js';

/**
 * The image occupies the last 64 KiB below 4 GiB, and also the last 64 KiB below 1 MiB, where it
 * hides guest memory.
 */
const IMAGE_SIZE = 0x10000;
/** Where the CPU starts: in real mode, with the image as its code segment. */
const RESET_OFFSET = 0xfff0;
const CODE_OFFSET = 0xff00;

function u16(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff];
}

function u32(value: number): number[] {
  return [...u16(value), ...u16(value >>> 16)];
}

function u64(value: number): number[] {
  return [...u32(value % 2 ** 32), ...u32(Math.floor(value / 2 ** 32))];
}

/**
 * Real mode: loads the registers that long mode needs, switches to it, and jumps to 64-bit code at
 * `target`.
 */
function enterLongMode({ cr0, cr3, cr4, efer, segments }: BootRegisters, target: number): number[] {
  const EFER = 0xc0000080;
  const EFER_LMA = 0x400;
  return [
    0xfa, // cli
    ...[0x66, 0xb8, ...u32(cr4)], // mov eax, cr4
    ...[0x0f, 0x22, 0xe0], // mov cr4, eax
    ...[0x66, 0xb8, ...u32(cr3)], // mov eax, cr3
    ...[0x0f, 0x22, 0xd8], // mov cr3, eax
    ...[0x66, 0xb9, ...u32(EFER)], // mov ecx, EFER
    // The CPU sets LMA itself.
    ...[0x66, 0xb8, ...u32(efer - (efer & EFER_LMA))], // mov eax, efer
    ...[0x66, 0x31, 0xd2], // xor edx, edx
    ...[0x0f, 0x30], // wrmsr
    // The operand of lgdt is at the start of the code.
    ...[0x2e, 0x66, 0x0f, 0x01, 0x16, ...u16(CODE_OFFSET)], // lgdt cs:[CODE_OFFSET]
    ...[0x66, 0xb8, ...u32(cr0)], // mov eax, cr0
    ...[0x0f, 0x22, 0xc0], // mov cr0, eax
    ...[0x66, 0xea, ...u32(target), ...u16(segments.code.selector)], // jmp far code:target
  ];
}

/** 64-bit: sets the registers of the boot protocol and jumps to the kernel. */
function enterKernel({ rip, rsi, rsp, segments }: BootRegisters): number[] {
  return [
    ...[0xb8, ...u32(segments.data.selector)], // mov eax, data
    ...[0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0x8e, 0xe0, 0x8e, 0xe8], // mov ds, es, ss, fs, gs, eax
    ...[0xbc, ...u32(rsp)], // mov esp, rsp
    ...[0xbe, ...u32(rsi)], // mov esi, rsi
    ...[0x48, 0xb8, ...u64(rip)], // mov rax, rip
    ...[0xff, 0xe0], // jmp rax
  ];
}

/**
 * Returns the firmware image, 64 KiB, for boot state that is already in `memory`. The image
 * contains a copy of the guest memory that it hides, where the kernel looks for the MP table.
 */
export function resetImage(memory: GuestMemory, registers: BootRegisters): Uint8Array {
  const imageAddress = 2 ** 32 - IMAGE_SIZE;
  const image = Uint8Array.from(memory.bytes(HIGH_MEMORY_START - IMAGE_SIZE, IMAGE_SIZE));
  const { base, limit } = registers.gdt;
  const operand = [...u16(limit), ...u32(base)];
  const start = CODE_OFFSET + operand.length;
  // The length of the real-mode code does not depend on its jump target.
  const length = enterLongMode(registers, 0).length;
  const realMode = enterLongMode(registers, imageAddress + start + length);
  const code = [...operand, ...realMode, ...enterKernel(registers)];
  image.set(code, CODE_OFFSET);
  const jump = start - (RESET_OFFSET + 3);
  image.set([0xe9, ...u16(jump & 0xffff)], RESET_OFFSET); // jmp start
  return image;
}
