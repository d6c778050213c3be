// Classic BPF over `struct seccomp_data`, as the kernel takes it for a filter (linux/bpf_common.h,
// linux/seccomp.h). Code is a list of instructions whose jumps stay within the list, so that lists
// can be concatenated.
import type { ArgumentCondition, Operator } from './profile.js';

/** `struct sock_filter`. */
export interface BpfInstruction {
  code: number;
  /** Instructions to skip if the test holds, and if it does not. */
  jt: number;
  jf: number;
  k: number;
}

export type Code = readonly BpfInstruction[];

/** Bytes of a `struct sock_filter`: u16 code, u8 jt, u8 jf, u32 k. */
const INSTRUCTION_SIZE = 8;

/** Lays a filter out as the kernel has it. */
export function encodeFilter(filter: Code): Buffer {
  const bytes = Buffer.alloc(filter.length * INSTRUCTION_SIZE);
  for (const [index, { code, jt, jf, k }] of filter.entries()) {
    const at = index * INSTRUCTION_SIZE;
    bytes.writeUInt16LE(code, at);
    bytes.writeUInt8(jt, at + 2);
    bytes.writeUInt8(jf, at + 3);
    bytes.writeUInt32LE(k, at + 4);
  }
  return bytes;
}

const BPF_LD_W_ABS = 0x20;
const BPF_ALU_AND_K = 0x54;
const BPF_JA = 0x05;
const BPF_JEQ_K = 0x15;
const BPF_JGT_K = 0x25;
const BPF_JGE_K = 0x35;
const BPF_RET_K = 0x06;
/** The longest conditional jump. */
const MAX_JUMP = 255;

/** Offsets in `struct seccomp_data`: int nr, u32 arch, u64 instruction pointer, u64 args[6]. */
export const DATA_NR = 0;
export const DATA_ARCH = 4;
export const DATA_ARGS = 16;

/** Return values of a filter. The low 16 bits are data (seccomp(2)). */
export const SECCOMP_RET_KILL_PROCESS = 0x80000000;
export const SECCOMP_RET_KILL_THREAD = 0x00000000;
export const SECCOMP_RET_TRAP = 0x00030000;
export const SECCOMP_RET_ERRNO = 0x00050000;
export const SECCOMP_RET_TRACE = 0x7ff00000;
export const SECCOMP_RET_LOG = 0x7ffc0000;
export const SECCOMP_RET_ALLOW = 0x7fff0000;

function instruction(code: number, k: number, jt = 0, jf = 0): BpfInstruction {
  return { code, jt, jf, k };
}

export function load(offset: number): BpfInstruction {
  return instruction(BPF_LD_W_ABS, offset);
}

export function ret(value: number): BpfInstruction {
  return instruction(BPF_RET_K, value);
}

/** Keeps the accumulator's bits of `mask`. */
export function keep(mask: number): BpfInstruction {
  return instruction(BPF_ALU_AND_K, mask);
}

/** Runs `high` if the accumulator is at least `k`, else `low`. Both must return. */
export function branch(k: number, low: Code, high: Code): Code {
  if (low.length <= MAX_JUMP) return [instruction(BPF_JGE_K, k, low.length, 0), ...low, ...high];
  return [instruction(BPF_JGE_K, k, 0, 1), instruction(BPF_JA, low.length), ...low, ...high];
}

/** Runs `body` unless the accumulator is `k`. */
export function unless(k: number, body: Code): Code {
  return [instruction(BPF_JEQ_K, k, body.length, 0), ...body];
}

/** Runs `body` if the accumulator is `k`. */
export function when(k: number, body: Code): Code {
  return [instruction(BPF_JEQ_K, k, 0, body.length), ...body];
}

/** Runs `body`, which is short, if the accumulator is at least `k`. */
export function whenAtLeast(k: number, body: Code): Code {
  return [instruction(BPF_JGE_K, k, 0, body.length), ...body];
}

const NEGATED: ReadonlySet<Operator> = new Set(['SCMP_CMP_NE', 'SCMP_CMP_LT', 'SCMP_CMP_LE']);

/**
 * Compares an argument of 64 bits. BPF loads 32 bits at a time; the high half comes first. Falls
 * through if the condition holds, otherwise skips `rest` more instructions.
 */
function compare({ index, op, value, valueTwo = 0 }: ArgumentCondition, rest: number): Code {
  const operand = BigInt(op === 'SCMP_CMP_MASKED_EQ' ? valueTwo : value);
  const [high, low] = [Number(operand >> 32n), Number(operand & 0xffff_ffffn)];
  const loadLow = load(DATA_ARGS + 8 * index);
  const loadHigh = load(DATA_ARGS + 8 * index + 4);
  // Jump distances from the end of the comparison, for a test that holds and for one that does not.
  const [yes, no] = NEGATED.has(op) ? [rest, 0] : [0, rest];
  switch (op) {
    case 'SCMP_CMP_EQ':
    case 'SCMP_CMP_NE':
      return [loadHigh, instruction(BPF_JEQ_K, high, 0, 2 + no), loadLow, instruction(BPF_JEQ_K, low, yes, no)];
    case 'SCMP_CMP_MASKED_EQ': {
      const mask = BigInt(value);
      const keepHigh = instruction(BPF_ALU_AND_K, Number(mask >> 32n));
      const keepLow = instruction(BPF_ALU_AND_K, Number(mask & 0xffff_ffffn));
      const isHigh = instruction(BPF_JEQ_K, high, 0, 3 + no);
      return [loadHigh, keepHigh, isHigh, loadLow, keepLow, instruction(BPF_JEQ_K, low, yes, no)];
    }
    default: {
      // LT is not GE, LE is not GT.
      const isAbove = op === 'SCMP_CMP_GT' || op === 'SCMP_CMP_LE' ? BPF_JGT_K : BPF_JGE_K;
      return [
        loadHigh,
        instruction(BPF_JGT_K, high, 3 + yes, 0),
        instruction(BPF_JEQ_K, high, 0, 2 + no),
        loadLow,
        instruction(isAbove, low, yes, no),
      ];
    }
  }
}

/** Runs `body` if all conditions hold. */
export function whenAll(conditions: readonly ArgumentCondition[], body: Code): Code {
  const code = [...body];
  for (const condition of conditions.toReversed()) code.unshift(...compare(condition, code.length));
  return code;
}
