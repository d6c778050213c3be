// A machine process in its jail says whether this host's KVM can be used, and doctor and a run that
// names no machine learn the same.
import { expect, test } from 'vitest';
import { probeKvm, probeMachine } from '../../../../sandbox/machine/probe.js';

test('KVM is tried with and without a look at the jail', async () => {
  const kvm = await probeKvm();
  expect(kvm).toMatchObject({ usable: expect.any(Boolean), reason: expect.any(String) });
  expect(await probeMachine()).toMatchObject({ ...kvm, jail: { seccomp: 'kill' } });
});
