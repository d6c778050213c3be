// Checks a machine's specification once, before its owner opens what it names.
import { PAGE_SIZE } from '../host/memory.js';
import { type DiskRates, MachineError, type MachineSpec } from '../machine.js';

const MIB = 2 ** 20;
/** A kernel with less memory does not reach its first process. */
const MIN_MEMORY = 64 * MIB;
const MAX_MEMORY = 2 ** 40;
const MAX_CPUS = 64;
/** CIDs 0 to 2 are the hypervisor, the loopback and the host (vsock(7)); 0xffffffff means any. */
const MIN_GUEST_CID = 3;
const MAX_GUEST_CID = 0xfffffffe;
/** A unix socket's path has at most 107 bytes, and `_` and a 32-bit port number follow this one. */
const MAX_VSOCK_PATH = 107 - 11;

/**
 * Checks everything that no later step checks when it opens or loads it.
 * @throws MachineError `bad-spec`, `no-accelerator`
 */
export function checkSpec(spec: MachineSpec): void {
  if (!['auto', 'kvm', 'tcg', 'uml'].includes(spec.accel)) {
    throw new MachineError(
      'no-accelerator',
      `unknown accelerator ${JSON.stringify(spec.accel)}: use auto, kvm, tcg or uml`,
    );
  }
  if (!isInteger(spec.cpus, 1, MAX_CPUS)) bad(`a machine has 1 to ${MAX_CPUS} CPUs, not ${spec.cpus}`);
  if (!isInteger(spec.memory, MIN_MEMORY, MAX_MEMORY)) {
    bad(`a machine has ${MIN_MEMORY / MIB} MiB to ${MAX_MEMORY / MIB} MiB of memory, not ${spec.memory / MIB} MiB`);
  }
  if (spec.memory % PAGE_SIZE !== 0) bad(`memory of ${spec.memory} bytes is not a multiple of ${PAGE_SIZE}`);
  for (const { id, rates } of spec.disks) checkRates(`disk ${id}`, rates);
  checkRates('shares', spec.shareRates);
  const { guestCid, path } = spec.vsock;
  if (!isInteger(guestCid, MIN_GUEST_CID, MAX_GUEST_CID)) bad(`${guestCid} is not a guest's vsock CID`);
  if (Buffer.byteLength(path) > MAX_VSOCK_PATH) bad(`vsock path is longer than ${MAX_VSOCK_PATH} bytes: ${path}`);
}

function checkRates(what: string, rates: DiskRates = {}): void {
  for (const [name, rate] of Object.entries(rates)) {
    if (!(rate > 0 && rate <= Number.MAX_SAFE_INTEGER)) bad(`${what}: ${name} is out of range: ${rate} per second`);
  }
}

function isInteger(value: number, min: number, max: number): boolean {
  return Number.isSafeInteger(value) && value >= min && value <= max;
}

function bad(message: string): never {
  throw new MachineError('bad-spec', message);
}
