// Asks a machine process whether this host's KVM can run a stock kernel, and what it is jailed by.
import type { ProbeResult } from '../../vmm/machine.js';
import { SandboxError } from '../errors.js';
import { defaultJailMode } from '../jail-mode.js';
import type { JailReport } from '../jail-report.js';
import { MachineClient } from './machine-client.js';
import { systemCallFilter } from './system-calls.js';

/** @throws SandboxError `machine-died` if the machine process ends without an answer */
export async function probeMachine(): Promise<ProbeResult & { jail: JailReport | undefined }> {
  using machine = new MachineClient({ probes: true });
  machine.send({ type: 'probe' });
  const failed = machine.ended.then(({ error }) => {
    throw error ?? new SandboxError('machine-died', 'the machine process gave no answer');
  });
  const { result } = await Promise.race([machine.probed, failed]);
  const report = await machine.firstJail;
  return { ...result, jail: report && { ...report, seccomp: systemCallFilter(defaultJailMode()) } };
}
