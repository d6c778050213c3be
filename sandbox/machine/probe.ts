// Asks a machine process whether this host's KVM can run a stock kernel, and what it and QEMU are
// jailed by.
import { wantsNoJail } from '../../jail/launcher.js';
import type { ProbeResult } from '../../vmm/machine.js';
import { SandboxError } from '../errors.js';
import { defaultJailMode } from '../jail-mode.js';
import type { JailReport } from '../jail-report.js';
import { MachineClient } from './machine-client.js';
import { companionFilter, systemCallFilter } from './system-calls.js';

/**
 * What this host's KVM can do, whatever an earlier probe found.
 * @throws SandboxError `machine-died` if the machine process ends without an answer
 */
export async function probeKvm(): Promise<ProbeResult> {
  using machine = new MachineClient({ probes: true });
  return await ask(machine);
}

/** @throws SandboxError `machine-died` if the machine process ends without an answer */
export async function probeMachine(): Promise<ProbeResult & { jail: JailReport | undefined }> {
  using machine = new MachineClient({ probes: true });
  const result = await ask(machine);
  const [report, companion] = await Promise.all([
    machine.firstJail,
    wantsNoJail() ? undefined : import('./emulator.js').then(({ probeEmulatorJail }) => probeEmulatorJail()),
  ]);
  const seccomp = systemCallFilter(defaultJailMode());
  const emulators = companion && { companion: { ...companion, seccomp: companionFilter(seccomp) } };
  return { ...result, jail: report && { ...report, seccomp, ...emulators } };
}

async function ask(machine: MachineClient): Promise<ProbeResult> {
  machine.send({ type: 'probe' });
  const failed = machine.ended.then(({ error }) => {
    throw error ?? new SandboxError('machine-died', 'the machine process gave no answer');
  });
  return (await Promise.race([machine.probed, failed])).result;
}
