// Keeps the verdict of the KVM probe between runs: it holds for this boot of this kernel.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { dirname } from 'node:path';
import type { ProbeResult } from '../machine.js';

/** Raised when the probe learns to look for more. */
const VERSION = 1;

/** What a verdict holds for. */
export function hostIdentity(): string {
  return `${VERSION} ${release()} ${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()}`;
}

/** The verdict kept in the file at `path`, if it holds for this host as it is. */
export function storedProbe(path: string): ProbeResult | undefined {
  const stored = read(path);
  return stored?.host === hostIdentity() ? stored.result : undefined;
}

/**
 * The verdict kept in the file at `path`, or else what `probe` finds, which is stored. A file that is not there, not
 * ours to read or write, or not what was written is as good as none.
 */
export function cachedProbe(path: string | undefined, probe: () => ProbeResult): ProbeResult {
  if (path === undefined) return probe();
  const stored = storedProbe(path);
  if (stored !== undefined) return stored;
  const result = probe();
  write(path, { host: hostIdentity(), result });
  return result;
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
