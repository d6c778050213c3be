// Isolation as an option, a field of the SDK and a variable of the environment.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { acceleratorOf, explainIsolation } from '../../../sandbox/isolation.js';
import { MachineError } from '../../../vmm/machine.js';

const before = process.env.TSVM_ISOLATION;
beforeEach(() => {
  delete process.env.TSVM_ISOLATION;
});
afterEach(() => {
  if (before === undefined) delete process.env.TSVM_ISOLATION;
  else process.env.TSVM_ISOLATION = before;
});

const none = new MachineError('kvm-unusable', 'this host has no KVM');

describe('vm', () => {
  test('asks for KVM, and refuses the emulator', () => {
    expect(acceleratorOf({ isolation: 'vm' })).toBe('kvm');
    expect(acceleratorOf({ isolation: 'vm', accel: 'auto' })).toBe('kvm');
    expect(() => acceleratorOf({ isolation: 'vm', accel: 'tcg' })).toThrow(
      expect.objectContaining({ code: 'isolation', message: 'isolation vm refuses the emulator (accelerator tcg)' }),
    );
  });

  test('refuses User-Mode Linux', () => {
    expect(() => acceleratorOf({ accel: 'uml', isolation: 'vm' })).toThrow(
      'isolation vm refuses User-Mode Linux (accelerator uml)',
    );
    expect(acceleratorOf({ accel: 'uml' })).toBe('uml');
  });

  test('is what the environment asks for, unless the spec says otherwise', () => {
    process.env.TSVM_ISOLATION = 'vm';
    expect(acceleratorOf({})).toBe('kvm');
    expect(acceleratorOf({ isolation: 'default' })).toBe('auto');
    expect(() => acceleratorOf({ accel: 'tcg' })).toThrow(expect.objectContaining({ code: 'isolation' }));
  });

  test('is named in the error of a host without KVM', () => {
    expect(explainIsolation(none, 'vm')).toMatchObject({
      code: 'isolation',
      message: 'this host has no KVM: isolation vm needs it (see: tsvm doctor)',
    });
    const crash = new MachineError('guest-crash', 'triple fault');
    expect(explainIsolation(crash, 'vm')).toBe(crash);
    expect(explainIsolation(none, undefined)).toBe(none);
  });
});

test('the default is the accelerator that the spec asks for', () => {
  expect(acceleratorOf({})).toBe('auto');
  expect(acceleratorOf({ accel: 'tcg' })).toBe('tcg');
  expect(acceleratorOf({ accel: 'kvm', isolation: 'default' })).toBe('kvm');
});

test('an unknown word is refused, in the environment too', () => {
  process.env.TSVM_ISOLATION = 'process';
  const message = 'TSVM_ISOLATION is "process": use default or vm';
  expect(() => acceleratorOf({})).toThrow(expect.objectContaining({ code: 'bad-spec', message }));
});
