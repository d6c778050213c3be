// Opens /dev/kvm for a machine process.
import { accessSync, constants, openSync } from 'node:fs';
import { constants as os } from 'node:os';
import { codeOf, hasCode } from '../../errors/index.js';
import type { ProbeResult } from '../../vmm/machine.js';
import { defaultHome, probeCachePath } from '../home/paths.js';
import { storedProbe } from './probe-cache.js';

const PATH = '/dev/kvm';

export interface OpenedKvm {
  /** Undefined if it could not be opened. The caller owns it. */
  fd: number | undefined;
  /** The argument of the machine's program (vmm/process/main.ts). */
  argument: string;
}

/** True if this user may open /dev/kvm. */
export function canOpenKvm(): boolean {
  try {
    accessSync(PATH, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** What is known of KVM without trying it. Undefined: it has to be tried. */
export function knownKvm(probeCache: string): Pick<ProbeResult, 'usable' | 'reason'> | undefined {
  try {
    accessSync(PATH, constants.R_OK | constants.W_OK);
  } catch (error) {
    const isMissing = hasCode(error, 'ENOENT');
    return { usable: false, reason: isMissing ? `there is no ${PATH}` : `no permission to open ${PATH}` };
  }
  return storedProbe(probeCache);
}

/** @param probes whatever an earlier probe found, KVM is to be probed */
export function openKvm(probes: boolean): OpenedKvm {
  const isUnusable = !probes && storedProbe(probeCachePath(defaultHome()))?.usable === false;
  try {
    return { fd: openSync(PATH, constants.O_RDWR), argument: isUnusable ? 'unusable' : 'kvm' };
  } catch (error) {
    const errno = Object.entries(os.errno).find(([name]) => name === codeOf(error))?.[1] ?? os.errno.EIO;
    return { fd: undefined, argument: String(-errno) };
  }
}
