// What a system call leads to that a machine process does not need.
import { readFileSync } from 'node:fs';
import type { BpfInstruction } from '../../seccomp/bpf.js';
import { compileProfile } from '../../seccomp/compile.js';
import type { SeccompProfile } from '../../seccomp/profile.js';
import type { MachineSpec, SystemCallFilter } from '../../vmm/machine.js';
import { SandboxError } from '../errors.js';
import type { JailMode } from '../jail-mode.js';

/** To debug: the environment variable that chooses it. */
const VARIABLE = 'TSVM_SECCOMP';
const FILTERS: readonly SystemCallFilter[] = ['kill', 'refuse', 'log', 'off'];
/** What the host's kernel can do to a process for a system call; missing on one without filters. */
const ACTIONS = '/proc/sys/kernel/seccomp/actions_avail';

/**
 * Without a jail, or on a kernel without filters, there is none. A filter that is asked for is
 * installed, or the machine does not run.
 * @throws SandboxError `bad-spec`
 */
export function systemCallFilter(jail: JailMode): SystemCallFilter {
  const word = process.env[VARIABLE] ?? '';
  if (word === '') return jail === 'off' || !canFilter() ? 'off' : 'kill';
  const filter = FILTERS.find((each) => each === word);
  if (filter !== undefined) return filter;
  throw new SandboxError('bad-spec', `${VARIABLE} is ${JSON.stringify(word)}: use ${FILTERS.join(', ')}`);
}

/** What a system call leads to that a companion of such a machine process does not need. */
export function companionFilter(filter: SystemCallFilter): Exclude<SystemCallFilter, 'kill'> {
  // Its programs are not ours: what one would like to do, and does without, must not end it.
  return filter === 'kill' ? 'refuse' : filter;
}

/**
 * The filter of a companion. Undefined if its machine process has none.
 * @param profile returns the profile in which other calls lead to `others`
 */
export function compileForCompanion(
  { systemCalls = 'kill' }: MachineSpec,
  profile: (others: 'SCMP_ACT_ERRNO' | 'SCMP_ACT_LOG') => SeccompProfile,
): BpfInstruction[] | undefined {
  const filter = companionFilter(systemCalls);
  if (filter === 'off') return undefined;
  const others = filter === 'log' ? 'SCMP_ACT_LOG' : 'SCMP_ACT_ERRNO';
  return compileProfile(profile(others), { capabilities: [], kernelRelease: '' });
}

function canFilter(): boolean {
  try {
    return readFileSync(ACTIONS, 'utf8').split(/\s+/).includes('kill_process');
  } catch {
    return false;
  }
}
