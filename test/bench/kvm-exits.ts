// The number of exits of guests to the host kernel: KVM's counters in debugfs, if they are
// readable.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

const FOLDER = '/sys/kernel/debug/kvm';

/** The counters that {@link readKvmCounters} reads. */
export const KVM_COUNTERS = ['exits', 'io_exits', 'mmio_exits', 'halt_exits', 'irq_injections', 'insn_emulation'];

/** Mounts debugfs if necessary. Returns true if the counters are readable. */
export function mountKvmCounters(): boolean {
  if (existsSync(FOLDER)) return true;
  try {
    execFileSync('mount', ['-t', 'debugfs', 'debugfs', '/sys/kernel/debug'], { stdio: 'ignore' });
  } catch {
    return false;
  }
  return existsSync(FOLDER);
}

/**
 * Returns the counters of the VM of process `pid`, summed over its vCPUs. Empty if it has no VM.
 */
export function readKvmCounters(pid: number): Record<string, number> {
  const vm = readdirSync(FOLDER).find((name) => name.startsWith(`${pid}-`));
  if (vm === undefined) return {};
  return Object.fromEntries(
    KVM_COUNTERS.filter((name) => existsSync(`${FOLDER}/${vm}/${name}`)).map((name) => [
      name,
      Number(readFileSync(`${FOLDER}/${vm}/${name}`, 'latin1')),
    ]),
  );
}
