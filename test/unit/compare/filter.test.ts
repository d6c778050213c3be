// What a filter of system calls allows, read from its code: a filter made to allow 27 calls counts 27.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { allowedBy, parseFilter } from '../../../compare/surface/filter.js';
import { parseCounts } from '../../../compare/surface/made.js';
import { encodeFilter } from '../../../seccomp/bpf.js';
import { compileProfile } from '../../../seccomp/compile.js';
import { ACTIONS, OPERATORS, type SeccompProfile } from '../../../seccomp/profile.js';
import { SYSCALLS } from '../../../seccomp/syscalls.js';
import { checkProgram, runProgram } from '../sandbox/spec/seccomp/bpf-interpreter.js';

const NAMES = [...SYSCALLS.keys()];
const target = { capabilities: [], kernelRelease: '6.1' };
const compile = (profile: SeccompProfile) => compileProfile(profile, target);

test.each(ACTIONS.filter((action) => !['SCMP_ACT_ALLOW', 'SCMP_ACT_LOG'].includes(action)))(
  'a filter that allows 27 calls and answers others with %s counts 27',
  (defaultAction) => {
    const names = NAMES.filter((_, index) => index % 7 === 3).slice(0, 27);
    expect(names.length).toBe(27);
    const filter = compile({ defaultAction, syscalls: [{ names, action: 'SCMP_ACT_ALLOW' }] });
    expect(allowedBy([filter])).toEqual(names);
  },
);

test('a call that is allowed with some arguments counts, and one that two filters do not both allow does not', () => {
  const args = [{ index: 0, op: 'SCMP_CMP_EQ' as const, value: 2 }];
  const rules = [{ names: ['socket', 'ioctl'], action: 'SCMP_ACT_ALLOW' as const, args }];
  const some = compile({ defaultAction: 'SCMP_ACT_ERRNO', syscalls: rules });
  expect(allowedBy([some]).sort()).toEqual(['ioctl', 'socket']);
  const other = compile({
    defaultAction: 'SCMP_ACT_KILL',
    syscalls: [{ names: ['socket', 'read'], action: 'SCMP_ACT_ALLOW' }],
  });
  expect(allowedBy([some, other])).toEqual(['socket']);
});

test('without a filter every call is allowed', () => {
  expect(allowedBy([])).toEqual(NAMES);
});

test('whatever the profile, what is allowed for some arguments is what is found', () => {
  const word = fc.constantFrom(0, 1, 2, 2 ** 32);
  const names = fc.subarray(['read', 'ioctl', 'socket', 'clone'], { minLength: 1 });
  const condition = fc.record({
    index: fc.constantFrom(0, 1),
    op: fc.constantFrom(...OPERATORS),
    value: word,
    valueTwo: word,
  });
  const rule = fc.record({ names, action: fc.constantFrom(...ACTIONS), args: fc.array(condition, { maxLength: 2 }) });
  const profile = fc.record({ defaultAction: fc.constantFrom(...ACTIONS), syscalls: fc.array(rule, { maxLength: 4 }) });
  fc.assert(
    fc.property(profile, fc.tuple(word, word), (given, [first, second]) => {
      const program = compile(given);
      checkProgram(program);
      const found = new Set(allowedBy([program]));
      for (const name of ['read', 'ioctl', 'socket', 'clone', 'kill']) {
        const args = [first, second, 0, 0, 0, 0].map(BigInt);
        const answer = runProgram(program, { number: SYSCALLS.get(name) ?? -1, architecture: 0xc000003e, args });
        // The code says allowed for these arguments, so it is for some.
        if ([0x7fff0000, 0x7ffc0000].includes((answer & 0xffff0000) >>> 0)) expect(found).toContain(name);
      }
    }),
    { numRuns: 25 },
  );
});

test("the gauge's digits are the filter", () => {
  const filter = compile({
    defaultAction: 'SCMP_ACT_ERRNO',
    syscalls: [{ names: ['read'], action: 'SCMP_ACT_ALLOW' }],
  });
  const digits = filter
    .map(({ code, jt, jf, k }) =>
      [
        code.toString(16).padStart(4, '0'),
        ...[jt, jf].map((jump) => jump.toString(16).padStart(2, '0')),
        k.toString(16).padStart(8, '0'),
      ].join(''),
    )
    .join('');
  expect(encodeFilter(parseFilter(digits))).toEqual(encodeFilter(filter));
  for (const wrong of ['', '00', `${digits}0`, digits.replace('0', 'x')]) expect(() => parseFilter(wrong)).toThrow();
});

test("strace's table of counts is read without its sum", () => {
  const text =
    '    calls syscall\n--------- ----------------\n     1000 getppid\n       21 read\n--------- ----------------\n     1021 total\n';
  expect(parseCounts(text)).toEqual([
    { name: 'getppid', calls: 1000 },
    { name: 'read', calls: 21 },
  ]);
});
