// The kernel ends a process that has a machine process's filter and makes a system call which that
// never needs.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeFilter } from '../../../../seccomp/bpf.js';
import type { SeccompProfile } from '../../../../seccomp/profile.js';
import { compile, processProfile, vcpuProfile } from '../../../../vmm/accel/system-calls.js';

const SOURCE = fileURLToPath(new URL('hostile.c', import.meta.url));
const CONTROL = 'futex';
const CALLS = [...readFileSync(SOURCE, 'utf8').matchAll(/CALL\("(\w+)"/g)]
  .map(([, name = '']) => name)
  .filter((name) => name !== CONTROL);
/** Refused by EACCES, because glibc and Node.js try it for files that they do without. */
const WITHOUT_DEATH = ['create', 'openat'];

const folder = mkdtempSync(join(tmpdir(), 'tsvm-hostile-'));
const program = join(folder, 'hostile');
beforeAll(() => {
  execFileSync('cc', ['-O1', '-Wall', '-Werror', '-o', program, SOURCE]);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes a filter as the kernel has it, and returns its path. */
function place(name: string, profile: SeccompProfile): string {
  writeFileSync(join(folder, name), encodeFilter(compile(profile)));
  return join(folder, name);
}

const machine = { slot: 9, firstKept: 64, hasBudget: false, hasNetwork: true, hasRelay: true, canSwitchUser: true };
const kvm = place('kvm', processProfile({ ...machine, hasShares: false, isEmulated: false }, 'kill'));
const emulated = place('emulated', processProfile({ ...machine, hasShares: false, isEmulated: true }, 'kill'));
const shared = place('shared', processProfile({ ...machine, hasShares: true, isEmulated: false }, 'kill'));
const vcpu = place('vcpu', vcpuProfile('kill'));

describe.each([
  ['a machine on KVM', [kvm]],
  ['an emulated machine', [emulated]],
  ['a machine with shares', [shared]],
  // As in the process: the filter of all threads first, and then the thread's own.
  ['a vCPU', [kvm, vcpu]],
])('in the place of %s', (name, filters) => {
  const run = (call: string) => spawnSync(program, [call, ...filters]);

  test('a call that it needs returns', () => {
    // A vCPU's thread never ends its process.
    expect(run(CONTROL)).toMatchObject(name === 'a vCPU' ? { signal: 'SIGSYS' } : { status: 0, signal: null });
  });

  test.each(CALLS)('%s is refused', (call) => {
    const { status, signal } = run(call);
    if (WITHOUT_DEATH.includes(call) && name !== 'a vCPU') expect(status).toBe(0);
    else expect({ status, signal }).toEqual({ status: null, signal: 'SIGSYS' });
    expect(() => readFileSync('/tmp/hostile')).toThrow();
  });
});
