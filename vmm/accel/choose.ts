// Chooses the accelerator of a machine, and checks the limits of each.
import { type Accelerator, MachineError, type MachineSpec, type ProbeResult } from '../machine.js';

/**
 * The most devices of a machine. Each disk is one; the vsock, entropy and balloon devices are three
 * more; each network is one, and shared folders are one. KVM has one interrupt line per device, 5 to 23.
 * QEMU's microvm has 8 transports. User-Mode Linux has as many as its command line, and is given
 * no more than KVM.
 */
const MAX_DEVICES: Record<Accelerator, number> = { kvm: 19, tcg: 8, uml: 19 };

export interface Choice {
  accel: Accelerator;
  /** Why the accelerator is not KVM, if KVM was possible. */
  reason?: string;
}

/**
 * Chooses KVM if it is usable, else QEMU's emulator; or the accelerator that was asked for.
 * @throws MachineError with the code of the probe's result if KVM was asked for; `no-accelerator`
 * if neither is available
 */
export function chooseAccelerator(
  { accel: asked, noEmulator }: Pick<MachineSpec, 'accel' | 'noEmulator'>,
  probe: () => ProbeResult,
): Choice {
  if (asked === 'tcg') {
    if (noEmulator !== undefined) throw new MachineError('no-accelerator', noEmulator);
    return { accel: 'tcg' };
  }
  if (asked === 'uml') return { accel: 'uml' };
  const { usable, code = 'kvm-unusable', reason } = probe();
  if (usable) return { accel: 'kvm' };
  if (asked === 'kvm') throw new MachineError(code, reason);
  if (noEmulator !== undefined) {
    throw new MachineError('no-accelerator', `${reason}; the emulator is not available either: ${noEmulator}`);
  }
  return { accel: 'tcg', reason };
}

/** @throws MachineError `bad-spec` if the accelerator has no room for so many devices */
export function checkLimits(accel: Accelerator, devices: number): void {
  const most = MAX_DEVICES[accel];
  if (devices <= most) return;
  throw new MachineError('bad-spec', `a machine on ${accel} has at most ${most} devices, not ${devices}`);
}
