// Asks a machine process whether this host's KVM can run a stock kernel, and what it is jailed by.
import type { ProbeResult } from '../../vmm/machine.js';
import { SandboxError } from '../errors.js';
import type { JailReport } from '../jail-report.js';
import { MachineClient } from './machine-client.js';

/** @throws SandboxError `machine-died` if the machine process ends without an answer */
export async function probeMachine(): Promise<ProbeResult & { jail: JailReport | undefined }> {
  using machine = new MachineClient({ probes: true });
  machine.send({ type: 'probe' });
  const failed = machine.ended.then(({ error }) => {
    throw error ?? new SandboxError('machine-died', 'the machine process gave no answer');
  });
  const { result } = await Promise.race([machine.probed, failed]);
  return { ...result, jail: await machine.firstJail };
}
