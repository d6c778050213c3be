// Which accelerator a machine gets, and the limits of each.
import { messageOf } from '../../errors/index.js';
import { type Accelerator, MachineError, type MachineSpec, type ProbeResult } from '../machine.js';
import { findQemu } from './tcg/qemu-process.js';

/**
 * The most devices: each disk is one; socket device, entropy device and balloon are three more, network and shared
 * folders one each. On KVM as many as there are
 * interrupt lines from 5 to 23, on QEMU's microvm as many as it has transports.
 */
const MAX_DEVICES: Record<Accelerator, number> = { kvm: 19, tcg: 8 };

export interface Choice {
  accel: Accelerator;
  /** Why it is not KVM, where it might have been. */
  reason?: string;
}

/**
 * KVM when it is usable, else QEMU's emulator; or the one that was asked for.
 * @throws MachineError as the probe's result says when KVM was asked for; `no-accelerator` when there is nothing to run on.
 */
export function chooseAccelerator(asked: MachineSpec['accel'], probe: () => ProbeResult): Choice {
  if (asked === 'tcg') {
    findQemu();
    return { accel: 'tcg' };
  }
  const { usable, code = 'kvm-unusable', reason } = probe();
  if (usable) return { accel: 'kvm' };
  if (asked === 'kvm') throw new MachineError(code, reason);
  try {
    findQemu();
  } catch (cause) {
    throw new MachineError('no-accelerator', `${reason}; and to emulate a CPU, ${messageOf(cause)}`, { cause });
  }
  return { accel: 'tcg', reason };
}

/** @throws MachineError `bad-spec` when the accelerator cannot do what is asked of it. */
export function checkLimits(accel: Accelerator, devices: number): void {
  const most = MAX_DEVICES[accel];
  if (devices <= most) return;
  throw new MachineError('bad-spec', `a machine on ${accel} has at most ${most} devices, not ${devices}`);
}
