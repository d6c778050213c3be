// Warns once per boot of the host about what it lacks.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Fallback, Home, type StartOptions } from '../../sandbox/internal.js';
import type { CliLog } from './log.js';

/** What emulation by QEMU means to the user. */
export const EMULATION = 'QEMU emulates the CPU, and programs run 5 to 20 times slower';

/** What several emulated CPUs mean to the user. */
export const STALE_CODE = 'programs that change their own code, such as Java and .NET, may crash or err on several';

/** What User-Mode Linux means to the user. */
export const USER_MODE = 'containers run on User-Mode Linux, a jailed process of the host, without a hardware wall';

/** Told once of each: which machine it is may depend on the container. */
export function warnOfFallback({ accel, reason }: Fallback, log: CliLog, home = new Home().path): void {
  const [file, what] = accel === 'uml' ? ['told-of-uml', USER_MODE] : ['told-of-emulation', EMULATION];
  warnOnce(file, reason, `${reason}: ${what} (see: tsvm doctor)`, log, home);
}

/** Said at each start: a wrong result must not come without it. */
export function warnOfEmulatedCpus(cpus: number, log: CliLog): void {
  log.warn(`QEMU emulates ${cpus} CPUs, and ${STALE_CODE}; --cpus 1 is safe`);
}

/** @param reason why there is no network, from the machine process */
export function warnOfNoNetwork(reason: string, log: CliLog, home = new Home().path): void {
  warnOnce('told-of-no-network', reason, `containers have no network: ${reason}`, log, home);
}

/** What a start tells of its machine. */
export function startWarnings(log: CliLog): Pick<StartOptions, 'onFallback' | 'onEmulatedCpus' | 'onNoNetwork'> {
  return {
    onFallback: (fallback) => warnOfFallback(fallback, log),
    onEmulatedCpus: (cpus) => warnOfEmulatedCpus(cpus, log),
    onNoNetwork: (reason) => warnOfNoNetwork(reason, log),
  };
}

function warnOnce(file: string, reason: string, message: string, log: CliLog, home: string): void {
  if (log.level === 'silent' || log.level === 'error') return;
  const path = join(home, file);
  const now = `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()} ${reason}`;
  if (read(path) === now) return;
  log.warn(message);
  try {
    mkdirSync(home, { recursive: true });
    writeFileSync(path, now);
  } catch {
    // The warning is repeated next time.
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
