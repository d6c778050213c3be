// Runs classic BPF as the kernel does over `struct seccomp_data`, and checks it first as the kernel
// does (kernel/seccomp.c, seccomp_check_filter; net/core/filter.c, bpf_check_classic).
import type { BpfInstruction } from '../../../../../sandbox/agent/frames.js';

export interface SystemCall {
  number: number;
  architecture: number;
  /** The six arguments, 64 bits each. */
  args: readonly bigint[];
}

const LD = 0x20;
const AND = 0x54;
const JA = 0x05;
const JEQ = 0x15;
const JGT = 0x25;
const JGE = 0x35;
const RET = 0x06;
const DATA_SIZE = 64;

/** @throws Error for a program that the kernel would refuse */
export function checkProgram(program: readonly BpfInstruction[]): void {
  if (program.length < 1 || program.length > 4096) throw new Error(`${program.length} instructions`);
  if (program.at(-1)!.code !== RET) throw new Error('the last instruction is no return');
  for (const [at, { code, jt, jf, k }] of program.entries()) {
    const behind = program.length - at - 1;
    if (code === LD ? k % 4 !== 0 || k >= DATA_SIZE : ![AND, JA, JEQ, JGT, JGE, RET].includes(code)) {
      throw new Error(`${at}: instruction ${code} ${k}`);
    }
    const farthest = code === JA ? k : [JEQ, JGT, JGE].includes(code) ? Math.max(jt, jf) : 0;
    if (farthest > behind - 1 && farthest > 0) throw new Error(`${at}: a jump of ${farthest} with ${behind} behind`);
  }
}

/** The return value of the filter. */
export function runProgram(program: readonly BpfInstruction[], call: SystemCall): number {
  const data = Buffer.alloc(DATA_SIZE);
  data.writeUInt32LE(call.number, 0);
  data.writeUInt32LE(call.architecture, 4);
  for (const [index, value] of call.args.entries()) data.writeBigUInt64LE(value, 16 + 8 * index);
  let accumulator = 0;
  for (let at = 0; ; at++) {
    const instruction = program[at];
    if (instruction === undefined) throw new Error(`${at}: the program has no such instruction`);
    const { code, jt, jf, k } = instruction;
    if (code === RET) return k;
    if (code === LD) accumulator = data.readUInt32LE(k);
    else if (code === AND) accumulator = (accumulator & k) >>> 0;
    else if (code === JA) at += k;
    else {
      const holds = code === JEQ ? accumulator === k : code === JGT ? accumulator > k : accumulator >= k;
      at += holds ? jt : jf;
    }
  }
}
