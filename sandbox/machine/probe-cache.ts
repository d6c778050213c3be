// Caches the result of the KVM probe between runs. A result is valid for one boot of one host
// kernel.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { dirname } from 'node:path';
import type { ProbeResult } from '../../vmm/machine.js';

/** Raised when the probe learns to check more. */
const VERSION = 1;

/** Names what a result is valid for: version of the probe, host kernel, boot. */
export function hostIdentity(): string {
  return `${VERSION} ${release()} ${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}`;
}

/** Returns the result in the file at `path` if it is valid for this host. */
export function storedProbe(path: string): ProbeResult | undefined {
  const stored = read(path);
  return stored?.host === hostIdentity() ? stored.result : undefined;
}

/** Stores a result in the file at `path`. A file that cannot be written is left as it is. */
export function storeProbe(path: string, result: ProbeResult): void {
  write(path, { host: hostIdentity(), result });
}

interface StoredProbe {
  host: string;
  result: ProbeResult;
}

function read(path: string): StoredProbe | undefined {
  try {
    const stored = JSON.parse(readFileSync(path, 'utf8')) as StoredProbe;
    const { usable, reason } = stored.result;
    return typeof usable === 'boolean' && typeof reason === 'string' ? stored : undefined;
  } catch {
    return undefined;
  }
}

function write(path: string, stored: StoredProbe): void {
  const temporary = `${path}.${process.pid}`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(temporary, JSON.stringify(stored));
    renameSync(temporary, path);
  } catch {
    // The next run probes again.
  }
}
