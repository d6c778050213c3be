// Reads and checks Docker's seccomp profiles, whose format is seccomp/profile.ts.
import { messageOf } from '../../../errors/index.js';
import {
  ACTIONS,
  type ArgumentCondition,
  OPERATORS,
  type RuleFilter,
  type SeccompProfile,
  type SyscallRule,
  type Unsigned64,
} from '../../../seccomp/profile.js';
import { defined } from '../../defined.js';
import { SandboxError } from '../../errors.js';

const MAX_ERRNO = 4095;
const U64 = 2n ** 64n;

function refuse(where: string, message: string): never {
  throw new SandboxError('bad-spec', `seccomp profile: ${where}${where === '' ? '' : ': '}${message}`);
}

function object(value: unknown, where: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  return refuse(where, 'not an object');
}

/** `null` means absent, as in Go. */
function list<T>(value: unknown, where: string, item: (value: unknown, where: string) => T): T[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) return refuse(where, 'not a list');
  return value.map((each, index) => item(each, `${where}[${index}]`));
}

function text(value: unknown, where: string): string {
  return typeof value === 'string' ? value : refuse(where, 'not a string');
}

function choice<T extends string>(value: unknown, choices: readonly T[], where: string): T {
  if (choices.includes(value as T)) return value as T;
  return refuse(where, `${JSON.stringify(value) ?? 'nothing'} is none of ${choices.join(', ')}`);
}

/** Returns true for an integer from 0 to `max`. */
function isInteger(value: unknown, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max;
}

function errnoRet(value: unknown, where: string): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (isInteger(value, MAX_ERRNO)) return value;
  return refuse(where, `not a number from 0 to ${MAX_ERRNO}`);
}

function unsigned64(value: unknown, where: string): Unsigned64 {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  if (typeof value === 'string' && /^\d{1,20}$/.test(value) && BigInt(value) < U64) return value;
  return refuse(where, 'not a number of 64 bits');
}

function condition(value: unknown, where: string): ArgumentCondition {
  const { index, op, value: operand, valueTwo } = object(value, where);
  return {
    index: isInteger(index, 5) ? index : refuse(`${where}.index`, 'not 0 to 5'),
    op: choice(op, OPERATORS, `${where}.op`),
    value: unsigned64(operand ?? 0, `${where}.value`),
    valueTwo: unsigned64(valueTwo ?? 0, `${where}.valueTwo`),
  };
}

function kernelVersion(value: unknown, where: string): string {
  const version = text(value, where);
  return /^\d{1,9}\.\d{1,9}$/.test(version)
    ? version
    : refuse(where, `'${version}' is not a kernel version such as 4.8`);
}

function ruleFilter(value: unknown, where: string): RuleFilter | undefined {
  if (value === undefined || value === null) return undefined;
  const { caps, arches, minKernel } = object(value, where);
  return defined({
    caps: list(caps, `${where}.caps`, text),
    arches: list(arches, `${where}.arches`, text),
    minKernel: minKernel === undefined ? undefined : kernelVersion(minKernel, `${where}.minKernel`),
  });
}

function rule(value: unknown, where: string): SyscallRule {
  const { name, names, action, args, includes, excludes, errnoRet: errno } = object(value, where);
  if (name && names) refuse(where, "'name' and 'names' are both given");
  return defined({
    names: name ? [text(name, `${where}.name`)] : (list(names, `${where}.names`, text) ?? []),
    action: choice(action, ACTIONS, `${where}.action`),
    errnoRet: errnoRet(errno, `${where}.errnoRet`),
    args: list(args, `${where}.args`, condition),
    includes: ruleFilter(includes, `${where}.includes`),
    excludes: ruleFilter(excludes, `${where}.excludes`),
  });
}

/**
 * Checks a parsed profile. Its list of architectures is ignored: the guest's kernel only has 64-bit
 * x86.
 * @throws SandboxError `bad-spec`, with the path of the invalid value
 */
export function checkSeccompProfile(value: unknown): SeccompProfile {
  const { defaultAction, defaultErrnoRet, syscalls } = object(value, '');
  return defined({
    defaultAction: choice(defaultAction, ACTIONS, 'defaultAction'),
    defaultErrnoRet: errnoRet(defaultErrnoRet, 'defaultErrnoRet'),
    syscalls: list(syscalls, 'syscalls', rule),
  });
}

/** Matches strings, which stay, and integers, which become strings if they are long. */
const TOKENS = /"(?:[^"\\]|\\.)*"|\d+/g;
/** Decimal digits that every double can hold. */
const EXACT_DIGITS = 15;

/**
 * Parses a profile from JSON. Numbers of 64 bits keep all their digits.
 * @throws SandboxError `bad-spec`
 */
export function parseSeccompProfile(json: string): SeccompProfile {
  const exact = json.replace(TOKENS, (token) =>
    token.startsWith('"') || token.length <= EXACT_DIGITS ? token : `"${token}"`,
  );
  let value: unknown;
  try {
    value = JSON.parse(exact);
  } catch (cause) {
    throw new SandboxError('bad-spec', `seccomp profile: not JSON: ${messageOf(cause)}`, { cause });
  }
  return checkSeccompProfile(value);
}
