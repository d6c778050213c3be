// The limits of a cgroup on disks of the host (`io.max`), from the rates that the machine's devices
// have. The devices come first: they count what the guest asks for. These bind where devices do not
// count: a burst of written pages that the host's kernel sends to the disk at once, and a machine
// process that a guest has taken over.
import { type BlockDevice, blockDeviceOf } from './block-device.js';

/** What may be read and written in one second. Absent: any. */
export interface IoRates {
  readBytes?: number;
  writeBytes?: number;
  readOperations?: number;
  writeOperations?: number;
}

/** A file or folder of the host that a machine reads, or also writes. */
export interface IoUse {
  path: string;
  readOnly: boolean;
  rates: IoRates | undefined;
}

const KEYS = [
  ['readBytes', 'rbps'],
  ['writeBytes', 'wbps'],
  ['readOperations', 'riops'],
  ['writeOperations', 'wiops'],
] as const satisfies [keyof IoRates, string][];

/** A file system writes a journal and its own blocks beside the data, and reads ahead. */
const MORE_BYTES = 1.25;
/** A request of a guest is several of the host's where the file is in pieces. */
const MORE_OPERATIONS = 4;

/**
 * The lines of `io.max`, one for each disk. A disk is limited where everything on it is.
 * @param deviceOf for tests
 */
export function ioLimits(
  uses: readonly IoUse[],
  deviceOf: (path: string) => BlockDevice | undefined = blockDeviceOf,
): string[] {
  if (uses.every(({ rates }) => rates === undefined)) return [];
  const disks = new Map<BlockDevice, IoUse[]>();
  for (const use of uses) {
    const device = deviceOf(use.path);
    if (device !== undefined) disks.set(device, [...(disks.get(device) ?? []), use]);
  }
  return [...disks].flatMap(([device, on]) => {
    const limits = KEYS.flatMap(([rate, key]) => {
      const limit = sumOf(on, rate);
      return limit === undefined ? [] : [`${key}=${limit}`];
    });
    return limits.length === 0 ? [] : [[device, ...limits].join(' ')];
  });
}

/** Undefined if one of them has no such rate, or none writes. */
function sumOf(uses: readonly IoUse[], rate: keyof IoRates): number | undefined {
  const isWrite = rate === 'writeBytes' || rate === 'writeOperations';
  const relevant = isWrite ? uses.filter(({ readOnly }) => !readOnly) : uses;
  // Mounted folders have one rate together.
  const rates = [...new Set(relevant.map(({ rates }) => rates))].map((each) => each?.[rate]);
  if (rates.length === 0 || rates.includes(undefined)) return undefined;
  const sum = rates.reduce<number>((total, each) => total + (each ?? 0), 0);
  const more = rate === 'readBytes' || rate === 'writeBytes' ? MORE_BYTES : MORE_OPERATIONS;
  return Math.ceil(sum * more);
}
