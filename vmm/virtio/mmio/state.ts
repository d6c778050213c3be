// The saved state of a transport and its device, and the checks of it.
import { boolean, type Check, FieldError, integer, list, record, u32 } from '../../saved-state.js';
import type { VirtioDevice } from '../device.js';
import { areOffered, type FeatureWords, hasFeature } from '../features.js';
import { VIRTIO_F_VERSION_1 } from '../queue.js';
import { checkQueueState, type QueueState } from './queue-registers.js';
import {
  INTERRUPT_CONFIG_CHANGE,
  INTERRUPT_USED_BUFFER,
  STATUS_DEVICE_NEEDS_RESET,
  STATUS_DRIVER_OK,
  STATUS_FEATURES_OK,
  STATUS_OF_DRIVER,
} from './registers.js';

/** Plain JSON. */
export interface VirtioMmioState<State = unknown> {
  status: number;
  driverFeatures: { low: number; high: number };
  /** The driver chose a feature above bit 63. */
  unknownFeature: boolean;
  queues: QueueState[];
  selectors: { deviceFeatures: number; driverFeatures: number; queue: number };
  interruptStatus: number;
  configGeneration: number;
  device: State;
}

const STATUS_MASK = STATUS_OF_DRIVER | STATUS_DEVICE_NEEDS_RESET;

const deviceStatus: Check<number> = (value) => {
  const status = integer(0, STATUS_MASK)(value);
  const isRunnable = (status & STATUS_DRIVER_OK) === 0 || (status & STATUS_FEATURES_OK) !== 0;
  if ((status & ~STATUS_MASK) === 0 && isRunnable) return status;
  throw new FieldError('a valid device status');
};

/** Returns true if the driver has started the device and the device has not failed. */
export function isRunning(status: number): boolean {
  return (status & (STATUS_DRIVER_OK | STATUS_DEVICE_NEEDS_RESET)) === STATUS_DRIVER_OK;
}

/**
 * Returns the check of this device's saved state.
 * @param offered the features that the transport and the device offer
 */
export function mmioState<State>(
  device: VirtioDevice<State>,
  offered: Readonly<FeatureWords>,
): Check<VirtioMmioState<State>> {
  const queues = device.queueSizes.length;
  const checkShape = record<VirtioMmioState<State>>({
    status: deviceStatus,
    driverFeatures: record({ low: u32, high: u32 }),
    unknownFeature: boolean,
    queues: list(checkQueueState, queues, queues),
    selectors: record({ deviceFeatures: u32, driverFeatures: u32, queue: u32 }),
    interruptStatus: integer(0, INTERRUPT_USED_BUFFER | INTERRUPT_CONFIG_CHANGE),
    configGeneration: u32,
    device: device.checkState,
  });
  return (value) => {
    const state = checkShape(value);
    const { status, driverFeatures, unknownFeature } = state;
    if ((status & STATUS_FEATURES_OK) === 0) return state;
    if (unknownFeature) throw new FieldError('false after FEATURES_OK', '.unknownFeature');
    const accepted: FeatureWords = [driverFeatures.low, driverFeatures.high];
    if (!areOffered(accepted, offered) || !hasFeature(accepted, VIRTIO_F_VERSION_1)) {
      throw new FieldError('a valid choice of the offered features', '.driverFeatures');
    }
    return state;
  };
}
