// The size of the files that a machine process may write. A guest that has taken it over has the disk of
// its writable layer and the files of a saved machine, and could make them as large as the host's disk.
import * as libc from '../host/libc.js';
import type { MachineSpec } from '../machine.js';
import { MAX_STATE } from './state-file.js';

const RLIMIT_FSIZE = 1;

/**
 * The most bytes of a file that such a machine writes. Undefined if it has shared folders that it may
 * write to: a guest chooses the sizes of its files there, and a sparse one may have any.
 */
export function largestFile({ disks, memory, shares = [] }: MachineSpec): number | undefined {
  if (shares.some(({ readOnly }) => !readOnly)) return undefined;
  const extents = disks.filter(({ readOnly }) => !readOnly).flatMap((disk) => disk.extents);
  return Math.max(MAX_STATE, memory, ...extents.map(({ offset, length }) => offset + length));
}

/** For good. A write beyond it fails (EFBIG): Node.js ignores the signal. @throws libc.SystemError */
export function limitFileSizes(spec: MachineSpec): void {
  const size = largestFile(spec);
  if (size === undefined) return;
  libc.check(libc.setrlimit(RLIMIT_FSIZE, BigUint64Array.of(BigInt(size), BigInt(size))), 'setrlimit');
}
