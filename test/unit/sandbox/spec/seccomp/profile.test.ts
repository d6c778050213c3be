// Docker's seccomp profiles are read without loss; what is not a profile is a SandboxError.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SandboxError } from '../../../../../sandbox/errors.js';
import { parseSeccompProfile } from '../../../../../sandbox/spec/seccomp/profile.js';

const parse = (value: unknown) => parseSeccompProfile(JSON.stringify(value));

describe('a seccomp profile', () => {
  test("is read in Docker's format; unused fields are dropped", () => {
    const profile = parse({
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrnoRet: 1,
      archMap: [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] }],
      syscalls: [
        { names: ['read'], action: 'SCMP_ACT_ALLOW', args: [], comment: '', includes: {}, excludes: {} },
        {
          name: 'socket',
          action: 'SCMP_ACT_ALLOW',
          args: [{ index: 0, value: 40, op: 'SCMP_CMP_NE' }],
          includes: { minKernel: '4.8', caps: ['CAP_SYS_PTRACE'] },
          excludes: null,
        },
      ],
    });
    expect(profile).toEqual({
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrnoRet: 1,
      syscalls: [
        { names: ['read'], action: 'SCMP_ACT_ALLOW', args: [], includes: {}, excludes: {} },
        {
          names: ['socket'],
          action: 'SCMP_ACT_ALLOW',
          args: [{ index: 0, value: 40, valueTwo: 0, op: 'SCMP_CMP_NE' }],
          includes: { minKernel: '4.8', caps: ['CAP_SYS_PTRACE'] },
        },
      ],
    });
  });

  test('keeps every digit of a number of 64 bits, and strings as they are', () => {
    const json = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a 18446744073709551615 \\" 1"],
      "action":"SCMP_ACT_LOG","args":[{"index":0,"op":"SCMP_CMP_EQ","value":18446744073709551615,"valueTwo":7}]}]}`;
    expect(parseSeccompProfile(json).syscalls).toMatchObject([
      {
        names: ['a 18446744073709551615 " 1'],
        args: [{ index: 0, op: 'SCMP_CMP_EQ', value: '18446744073709551615', valueTwo: 7 }],
      },
    ]);
  });

  const withRule = (rule: object) => ({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [rule] });
  const withArgument = (argument: object) =>
    withRule({ names: ['read'], action: 'SCMP_ACT_LOG', args: [{ index: 0, op: 'SCMP_CMP_EQ', ...argument }] });

  test.each<[unknown, string]>([
    [[], 'not an object'],
    [null, 'not an object'],
    [{}, 'defaultAction: nothing is none of SCMP_ACT_KILL'],
    [{ defaultAction: 'ALLOW' }, 'defaultAction: "ALLOW" is none of'],
    [{ defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: 4096 }, 'defaultErrnoRet: not a number from 0 to 4095'],
    [{ defaultAction: 'SCMP_ACT_ALLOW', syscalls: {} }, 'syscalls: not a list'],
    [withRule([]), 'syscalls[0]: not an object'],
    [withRule({ names: [1], action: 'SCMP_ACT_LOG' }), 'syscalls[0].names[0]: not a string'],
    [withRule({ names: ['a'], name: 'b', action: 'SCMP_ACT_LOG' }), "'name' and 'names' are both given"],
    [withRule({ names: ['a'], action: 'SCMP_ACT_NOTIFY' }), 'syscalls[0].action: "SCMP_ACT_NOTIFY" is none of'],
    [withRule({ names: ['a'], action: 'SCMP_ACT_LOG', includes: { minKernel: 'new' } }), "minKernel: 'new' is not a"],
    [withArgument({ index: 6 }), 'syscalls[0].args[0].index: not 0 to 5'],
    [withArgument({ op: 'EQ' }), 'syscalls[0].args[0].op: "EQ" is none of'],
    [withArgument({ value: -1 }), 'syscalls[0].args[0].value: not a number of 64 bits'],
    [withArgument({ value: '18446744073709551616' }), 'syscalls[0].args[0].value: not a number of 64 bits'],
    [withArgument({ valueTwo: 1.5 }), 'syscalls[0].args[0].valueTwo: not a number of 64 bits'],
  ])('%j is refused', (value, message) => {
    expect(() => parse(value)).toThrow(message);
  });

  test('that is not JSON is refused in one line', () => {
    expect(() => parseSeccompProfile('{"a"')).toThrow(/^seccomp profile: not JSON: [^\n]+$/);
  });

  test('with any content is read or refused', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          parseSeccompProfile(text);
        } catch (error) {
          expect(error).toBeInstanceOf(SandboxError);
        }
      }),
    );
  });
});
