// What a filter of system calls allows: each path through its code is followed, with the arguments of
// the call unknown. So a call counts as allowed if it is with some arguments.
import { type BpfInstruction, DATA_ARCH, DATA_NR, SECCOMP_RET_ALLOW, SECCOMP_RET_LOG } from '../../seccomp/bpf.js';
import { SYSCALLS } from '../../seccomp/syscalls.js';

/** `AUDIT_ARCH_X86_64` (linux/audit.h). */
const X86_64 = 0xc000003e;
const ACTION = 0xffff0000;
/** Digits of an instruction: code, jt, jf, k. */
const DIGITS = 16;

/** Reads a filter as the gauge prints it. @throws Error */
export function parseFilter(digits: string): BpfInstruction[] {
  if (digits.length % DIGITS !== 0 || !/^[0-9a-f]+$/.test(digits)) throw new Error('the gauge printed no filter');
  return Array.from({ length: digits.length / DIGITS }, (_, index) => {
    const at = index * DIGITS;
    const number = (from: number, to: number) => Number.parseInt(digits.slice(at + from, at + to), 16);
    return { code: number(0, 4), jt: number(4, 6), jf: number(6, 8), k: number(8, 16) };
  });
}

/** A value of 32 bits, or undefined if it depends on what is not known. */
type Word = number | undefined;

interface State {
  at: number;
  a: Word;
  x: Word;
  memory: readonly Word[];
}

/** Classes, modes and operations of an instruction (linux/bpf_common.h). */
const [LD, LDX, ST, STX, ALU, JMP, RET, MISC] = [0, 1, 2, 3, 4, 5, 6, 7];
const [IMM, ABS, MEM, LEN] = [0x00, 0x20, 0x60, 0x80];
const FROM_X = 0x08;
/** `sizeof(struct seccomp_data)`. */
const DATA_SIZE = 64;

function calculate(operation: number, a: number, b: number): Word {
  switch (operation) {
    case 0x00:
      return (a + b) >>> 0;
    case 0x10:
      return (a - b) >>> 0;
    case 0x20:
      return Math.imul(a, b) >>> 0;
    case 0x30:
      return b === 0 ? undefined : Math.trunc(a / b);
    case 0x40:
      return (a | b) >>> 0;
    case 0x50:
      return (a & b) >>> 0;
    case 0x60:
      return b > 31 ? 0 : (a << b) >>> 0;
    case 0x70:
      return b > 31 ? 0 : a >>> b;
    case 0x80:
      return -a >>> 0;
    case 0xa0:
      return (a ^ b) >>> 0;
    default:
      return undefined;
  }
}

function holds(operation: number, a: number, b: number): boolean {
  switch (operation) {
    case 0x10:
      return a === b;
    case 0x20:
      return a > b;
    case 0x30:
      return a >= b;
    default:
      return (a & b) >>> 0 !== 0;
  }
}

/** The states after an instruction, none after one that returns. */
function step({ code, jt, jf, k }: BpfInstruction, state: State, call: number): State[] {
  const { a, x, memory } = state;
  const next = { ...state, at: state.at + 1 };
  const loaded = (): Word => {
    switch (code & 0xe0) {
      case IMM:
        return k;
      case ABS:
        return k === DATA_NR ? call : k === DATA_ARCH ? X86_64 : undefined;
      case MEM:
        return memory[k];
      case LEN:
        return DATA_SIZE;
      default:
        return undefined;
    }
  };
  const stored = (value: Word) => ({ ...next, memory: memory.toSpliced(k, 1, value) });
  const operand = code & FROM_X ? x : k;
  switch (code & 7) {
    case LD:
      return [{ ...next, a: loaded() }];
    case LDX:
      return [{ ...next, x: loaded() }];
    case ST:
      return [stored(a)];
    case STX:
      return [stored(x)];
    case ALU:
      return [
        { ...next, a: a === undefined || operand === undefined ? undefined : calculate(code & 0xf0, a, operand) },
      ];
    case JMP: {
      if ((code & 0xf0) === 0) return [{ ...next, at: next.at + k }];
      const [yes, no] = [
        { ...next, at: next.at + jt },
        { ...next, at: next.at + jf },
      ];
      if (a === undefined || operand === undefined) return [yes, no];
      return [holds(code & 0xf0, a, operand) ? yes : no];
    }
    case MISC:
      return [(code & 0xf8) === 0 ? { ...next, x: a } : { ...next, a: x }];
    default:
      return [];
  }
}

/** True if the filter lets the call through, with some arguments. */
function allows(filter: readonly BpfInstruction[], call: number): boolean {
  const left: State[] = [{ at: 0, a: 0, x: 0, memory: Array.from({ length: 16 }, () => undefined) }];
  const seen = new Set<string>();
  for (let state = left.pop(); state !== undefined; state = left.pop()) {
    const key = `${state.at} ${state.a} ${state.x} ${state.memory.join()}`;
    const instruction = filter[state.at];
    if (instruction === undefined || seen.has(key)) continue;
    seen.add(key);
    if ((instruction.code & 7) === RET) {
      const value = instruction.code & 0x10 ? state.a : instruction.k;
      const action = value === undefined ? SECCOMP_RET_ALLOW : (value & ACTION) >>> 0;
      if (action === SECCOMP_RET_ALLOW || action === SECCOMP_RET_LOG) return true;
    }
    left.push(...step(instruction, state, call));
  }
  return false;
}

/** The names of the calls that all filters let through. Without filters, all calls. */
export function allowedBy(filters: readonly (readonly BpfInstruction[])[]): string[] {
  return [...SYSCALLS].filter(([, call]) => filters.every((filter) => allows(filter, call))).map(([name]) => name);
}
