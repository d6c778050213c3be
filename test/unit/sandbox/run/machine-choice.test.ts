// A container that names no machine gets KVM, else User-Mode Linux where its jail is complete and it
// can do what is asked for, else the emulator.
import { describe, expect, test } from 'vitest';
import type { JailReport } from '../../../../sandbox/jail-report.js';
import {
  chooseMachine,
  machineFor,
  type UmlConditions,
  whyNotKvm,
  whyNotUml,
} from '../../../../sandbox/run/machine-choice.js';

const COMPLETE: JailReport = {
  ...({ files: 'namespace', network: 'namespace', processes: 'namespace', sockets: 'namespace' } as const),
  ...({ ipc: 'namespace', user: true, landlock: 0, seccomp: 'kill' } as const),
};
const FIT: UmlConditions = {
  ...({ cpus: 1, kernel: undefined, hasKernel: true, scope: 1 } as const),
  ...({ jailMode: 'auto', jail: COMPLETE } as const),
};

test('User-Mode Linux fits one CPU or a part of it, with its kernel and all of its jail', () => {
  expect(whyNotUml(FIT)).toBeUndefined();
  expect(whyNotUml({ ...FIT, cpus: 0.5, jailMode: 'require' })).toBeUndefined();
  const companion: JailReport = { ...COMPLETE, files: null };
  expect(whyNotUml({ ...FIT, jail: { ...COMPLETE, companion } })).toBeUndefined();
});

test.each<[string, Partial<UmlConditions>, RegExp]>([
  ['more CPUs', { cpus: 2 }, /^it has one CPU, and 2 are asked for$/],
  ['more than one CPU', { cpus: 1.5 }, /one CPU, and 2/],
  ['a kernel of its own', { kernel: '/boot/vmlinuz' }, /another kernel/],
  ['no kernel of User-Mode Linux', { hasKernel: false }, /tsvm kernel pull debian-uml/],
  ['no tracing of programs', { scope: 2 }, /forbids ptrace \(kernel.yama.ptrace_scope is 2\)/],
  ['no jail wanted', { jailMode: 'off' }, /jail, and that is off/],
  ['no jail', { jail: undefined }, /there is no jail/],
  ['files by landlock', { jail: { ...COMPLETE, files: 'landlock' } }, /not complete: no namespaces for files/],
  ['no namespace of networks', { jail: { ...COMPLETE, network: null } }, /no namespaces for network/],
  ['no user of its own', { jail: { ...COMPLETE, uid: 0, noUser: 'no range' } }, /no user of its own \(no range\)/],
  ['no filter', { jail: { ...COMPLETE, seccomp: 'off' } }, /no filter of system calls/],
  ['a filter that only logs', { jail: { ...COMPLETE, seccomp: 'log' } }, /no filter of system calls/],
])('it does not fit: %s', (_, without, reason) => {
  expect(whyNotUml({ ...FIT, ...without })).toMatch(reason);
});

describe('the choice', () => {
  test.each(['kvm', 'tcg', 'uml'] as const)('%s is what was asked for, whatever the host has', (asked) => {
    expect(chooseMachine(asked, 'no KVM', undefined)).toEqual({ accel: asked });
    expect(chooseMachine(asked, undefined, 'no kernel')).toEqual({ accel: asked });
  });

  test('KVM comes first: the machine process has it or the emulator', () => {
    expect(chooseMachine('auto', undefined, undefined)).toEqual({ accel: 'auto' });
  });

  test('User-Mode Linux comes second, with the reason', () => {
    expect(chooseMachine('auto', 'no KVM', undefined)).toEqual({ accel: 'uml', reason: 'no KVM' });
    expect(whyNotKvm({ reason: 'no KVM' })).toBe('no KVM');
  });

  test('the emulator comes last, with both reasons', () => {
    expect(chooseMachine('auto', 'no KVM', 'no kernel')).toEqual({ accel: 'auto', noUml: 'no kernel' });
    expect(whyNotKvm({ noUml: 'no kernel' }, 'no KVM')).toBe('no KVM; not User-Mode Linux: no kernel');
    expect(whyNotKvm({ noUml: 'no kernel' })).toBeUndefined();
  });
});

test('isolation vm is KVM, and no jail is looked at', async () => {
  const jail = () => Promise.reject(new Error('asked'));
  const spec = { image: 'debian:12', command: [], isolation: 'vm' as const };
  const wanted = { spec, isSaved: false, jailMode: 'auto' as const, jail, probeCache: '/nowhere' };
  expect(await machineFor(wanted)).toEqual({ accel: 'kvm' });
  await expect(machineFor({ ...wanted, spec: { ...spec, accel: 'uml' } })).rejects.toThrow('isolation vm refuses');
  expect(await machineFor({ ...wanted, spec: { ...spec, isolation: 'default' }, isSaved: true })).toEqual({
    accel: 'auto',
  });
});
