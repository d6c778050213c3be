// A profile of an engine becomes what an OCI runtime takes: of its rules, those that apply here.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readProfile } from '../../../compare/levels/seccomp.js';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
});

afterAll(() => rmSync(folder, { recursive: true }));

const action = 'SCMP_ACT_ALLOW';
const condition = { index: 0, value: 8, valueTwo: 0, op: 'SCMP_CMP_EQ' };

function rules(syscalls: readonly object[], kernel = '6.1.0') {
  const path = join(folder, 'profile.json');
  writeFileSync(path, JSON.stringify({ defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: 38, syscalls }));
  return readProfile(path, ['CAP_KILL'], kernel);
}

test('rules for capabilities, processors and kernels that are others are left out', () => {
  const profile = rules([
    { names: ['read', 'write'], action },
    { names: ['personality'], action, args: [condition] },
    { names: ['kill'], action, includes: { caps: ['CAP_KILL'] } },
    { names: ['bpf'], action, includes: { caps: ['CAP_SYS_ADMIN'] } },
    { names: ['bpf'], action: 'SCMP_ACT_ERRNO', errnoRet: 1, excludes: { caps: ['CAP_SYS_ADMIN'] } },
    { names: ['sync_file_range2'], action, includes: { arches: ['ppc64le'] } },
    { names: ['ptrace'], action, includes: { minKernel: '6.2' } },
  ]);
  expect(profile).toEqual({
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: 38,
    architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
    syscalls: [
      { names: ['read', 'write'], action },
      { names: ['personality'], action, args: [condition] },
      { names: ['kill'], action },
      { names: ['bpf'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 },
    ],
  });
});

test('what is no profile is refused in one line', () => {
  writeFileSync(join(folder, 'broken.json'), '{');
  expect(() => readProfile(join(folder, 'broken.json'), [])).toThrow(/^seccomp profile: not JSON: /);
});
