// Docker's format of seccomp profiles, which is JSON (docs.docker.com, "Seccomp security profiles for
// Docker"; the OCI runtime specification, "Seccomp", for actions and operators).

export const ACTIONS = [
  'SCMP_ACT_KILL',
  'SCMP_ACT_KILL_THREAD',
  'SCMP_ACT_KILL_PROCESS',
  'SCMP_ACT_TRAP',
  'SCMP_ACT_ERRNO',
  'SCMP_ACT_TRACE',
  'SCMP_ACT_LOG',
  'SCMP_ACT_ALLOW',
] as const;
export type Action = (typeof ACTIONS)[number];

export const OPERATORS = [
  'SCMP_CMP_NE',
  'SCMP_CMP_LT',
  'SCMP_CMP_LE',
  'SCMP_CMP_EQ',
  'SCMP_CMP_GE',
  'SCMP_CMP_GT',
  'SCMP_CMP_MASKED_EQ',
] as const;
export type Operator = (typeof OPERATORS)[number];

/** An unsigned number of 64 bits. Decimal digits if a number would lose precision. */
export type Unsigned64 = number | string;

/** A condition on one of a system call's arguments. */
export interface ArgumentCondition {
  /** 0 to 5. */
  index: number;
  op: Operator;
  /** The operand; for MASKED_EQ the mask. */
  value: Unsigned64;
  /** The operand of MASKED_EQ. */
  valueTwo?: Unsigned64;
}

/** Conditions for a rule to apply: capabilities, architecture (Go's names) and kernel. */
export interface RuleFilter {
  /** Names with `CAP_`. */
  caps?: string[];
  arches?: string[];
  /** The oldest kernel: `4.8`. */
  minKernel?: string;
}

export interface SyscallRule {
  /** Names of system calls. Names that this architecture does not have are ignored. */
  names: string[];
  action: Action;
  /** The errno of ERRNO, the data of TRACE. Default EPERM. */
  errnoRet?: number;
  /** All conditions must hold. If several are for one argument, any of them. */
  args?: ArgumentCondition[];
  includes?: RuleFilter;
  excludes?: RuleFilter;
}

export interface SeccompProfile {
  defaultAction: Action;
  defaultErrnoRet?: number;
  syscalls?: SyscallRule[];
}
