// How often guests left for the host kernel: KVM's own counters in debugfs, where they can be read.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

const FOLDER = '/sys/kernel/debug/kvm';

/** Counters of {@link readKvmCounters} that are worth a line. */
export const KVM_COUNTERS = ['exits', 'io_exits', 'mmio_exits', 'halt_exits', 'irq_injections', 'insn_emulation'];

/** Makes the counters readable if that is possible here. */
export function mountKvmCounters(): boolean {
  if (existsSync(FOLDER)) return true;
  try {
    execFileSync('mount', ['-t', 'debugfs', 'debugfs', '/sys/kernel/debug'], { stdio: 'ignore' });
  } catch {
    return false;
  }
  return existsSync(FOLDER);
}

/** The counters of the VM of process `pid`, over its vCPUs. */
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
