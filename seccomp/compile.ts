// Compiles a seccomp profile to a BPF program. Rules combine as in runc:
// - A rule whose action is the default action is ignored.
// - A rule without conditions wins over rules with conditions.
// - Among rules with conditions, the first that holds wins, in the profile's order.
import {
  type BpfInstruction,
  branch,
  type Code,
  DATA_ARCH,
  DATA_NR,
  load,
  ret,
  SECCOMP_RET_ALLOW,
  SECCOMP_RET_ERRNO,
  SECCOMP_RET_KILL_PROCESS,
  SECCOMP_RET_KILL_THREAD,
  SECCOMP_RET_LOG,
  SECCOMP_RET_TRACE,
  SECCOMP_RET_TRAP,
  unless,
  whenAll,
} from './bpf.js';
import type { Action, ArgumentCondition, RuleFilter, SeccompProfile, SyscallRule } from './profile.js';
import { SYSCALLS } from './syscalls.js';

/** linux/audit.h: EM_X86_64, 64 bits, little-endian. */
const AUDIT_ARCH_X86_64 = 0xc000003e;
/** Bit of x32's system call numbers, which are refused as by a kernel without x32. */
const X32_SYSCALL_BIT = 0x40000000;
const EPERM = 1;
const ENOSYS = 38;
/** The processor's name in Go, which profiles use. */
const ARCHITECTURE = 'amd64';

/** What a profile is compiled for. */
export interface SeccompTarget {
  /** Names without `CAP_`. */
  capabilities: readonly string[];
  /** Release of the kernel, as in uname(2). */
  kernelRelease: string;
}

const VALUES: Record<Action, number> = {
  SCMP_ACT_KILL: SECCOMP_RET_KILL_THREAD,
  SCMP_ACT_KILL_THREAD: SECCOMP_RET_KILL_THREAD,
  SCMP_ACT_KILL_PROCESS: SECCOMP_RET_KILL_PROCESS,
  SCMP_ACT_TRAP: SECCOMP_RET_TRAP,
  SCMP_ACT_ERRNO: SECCOMP_RET_ERRNO,
  SCMP_ACT_TRACE: SECCOMP_RET_TRACE,
  SCMP_ACT_LOG: SECCOMP_RET_LOG,
  SCMP_ACT_ALLOW: SECCOMP_RET_ALLOW,
};

function returned(action: Action, errnoRet = EPERM): number {
  const hasData = action === 'SCMP_ACT_ERRNO' || action === 'SCMP_ACT_TRACE';
  return VALUES[action] + (hasData ? errnoRet : 0);
}

/** Returns true if `release` (`6.1.2-x`) is at least `version` (`4.8`). */
function isKernelAtLeast(release: string, version: string): boolean {
  const [major = 0, minor = 0] = release.split(/[^\d]/, 2).map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = version.split('.').map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

function counts(includes: RuleFilter = {}, excludes: RuleFilter = {}, target: SeccompTarget): boolean {
  const has = (cap: string) => target.capabilities.some((name) => `CAP_${name}` === cap);
  const isAtLeast = (version: string) => isKernelAtLeast(target.kernelRelease, version);
  if (includes.arches?.length && !includes.arches.includes(ARCHITECTURE)) return false;
  if (excludes.arches?.includes(ARCHITECTURE)) return false;
  if (includes.caps && !includes.caps.every(has)) return false;
  if (excludes.caps?.some(has)) return false;
  if (includes.minKernel !== undefined && !isAtLeast(includes.minKernel)) return false;
  return excludes.minKernel === undefined || !isAtLeast(excludes.minKernel);
}

/** The rules of a profile that apply to a target. */
export function rulesFor({ syscalls = [] }: SeccompProfile, target: SeccompTarget): SyscallRule[] {
  return syscalls.filter(({ includes, excludes }) => counts(includes, excludes, target));
}

/** Alternatives. Each is a conjunction of conditions. */
function alternatives(args: readonly ArgumentCondition[]): ArgumentCondition[][] {
  const isRepeated = new Set(args.map(({ index }) => index)).size < args.length;
  return isRepeated ? args.map((arg) => [arg]) : [[...args]];
}

/** The decision for one system call. */
interface Decision {
  /** The value of a rule without conditions, which alone decides. */
  value?: number;
  conditional: { conditions: ArgumentCondition[]; value: number }[];
}

function decisions(profile: SeccompProfile, target: SeccompTarget, byDefault: number): Map<number, Decision> {
  const found = new Map<number, Decision>();
  for (const { names, action, errnoRet, args = [] } of rulesFor(profile, target)) {
    const value = returned(action, errnoRet);
    if (value === byDefault) continue;
    for (const number of names.map((name) => SYSCALLS.get(name))) {
      if (number === undefined) continue;
      const decision = found.get(number) ?? { conditional: [] };
      found.set(number, decision);
      if (args.length === 0) decision.value ??= value;
      else for (const conditions of alternatives(args)) decision.conditional.push({ conditions, value });
    }
  }
  return found;
}

/** Code for the system calls from `first` up to the next piece. */
interface Piece {
  first: number;
  code: Code;
  /** The value that the code returns, if it does nothing else. */
  value?: number;
}

function pieceOf(first: number, { value, conditional }: Decision, byDefault: number): Piece {
  if (value !== undefined) return { first, value, code: [ret(value)] };
  const rules = conditional.flatMap((rule) => whenAll(rule.conditions, [ret(rule.value)]));
  return { first, code: [...rules, ret(byDefault)] };
}

/** Pieces in ascending order. Neighbours with equal values are merged. */
function pieces(found: Map<number, Decision>, byDefault: number): Piece[] {
  const plain: Decision = { value: byDefault, conditional: [] };
  const starts = new Set([0, X32_SYSCALL_BIT]);
  for (const number of found.keys()) starts.add(number).add(number + 1);
  const result: Piece[] = [];
  for (const first of [...starts].sort((a, b) => a - b)) {
    const isX32 = first === X32_SYSCALL_BIT;
    const decision = isX32 ? { value: SECCOMP_RET_ERRNO + ENOSYS, conditional: [] } : (found.get(first) ?? plain);
    const piece = pieceOf(first, decision, byDefault);
    if (piece.value === undefined || piece.value !== result.at(-1)?.value) result.push(piece);
  }
  return result;
}

/** A binary search for the piece that contains the accumulator. */
function search(all: readonly Piece[]): Code {
  const middle = all.length >> 1;
  const [first] = all.slice(middle);
  if (first === undefined) return [];
  return middle === 0 ? first.code : branch(first.first, search(all.slice(0, middle)), search(all.slice(middle)));
}

/**
 * Compiles `profile`, after `first`, which may return early or falls through. A process that makes
 * system calls of another architecture is killed.
 */
export function compileProfile(profile: SeccompProfile, target: SeccompTarget, first: Code = []): BpfInstruction[] {
  const byDefault = returned(profile.defaultAction, profile.defaultErrnoRet);
  return [
    load(DATA_ARCH),
    ...unless(AUDIT_ARCH_X86_64, [ret(SECCOMP_RET_KILL_PROCESS)]),
    ...first,
    load(DATA_NR),
    ...search(pieces(decisions(profile, target, byDefault), byDefault)),
  ];
}
