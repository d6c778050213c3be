// The registers of one queue (virtio 1.2, 4.2.2): its size and where its rings are.
import { boolean, type Check, integer, nullable, record, u32 } from '../../saved-state.js';
import { checkVirtqueueState, type VirtqueueLayout, type VirtqueueState } from '../queue.js';
import {
  QUEUE_DESC_HIGH,
  QUEUE_DESC_LOW,
  QUEUE_DEVICE_HIGH,
  QUEUE_DEVICE_LOW,
  QUEUE_DRIVER_HIGH,
  QUEUE_DRIVER_LOW,
  QUEUE_NUM,
} from './registers.js';

export interface QueueRegisters extends VirtqueueLayout {
  ready: boolean;
}

export interface QueueState extends QueueRegisters {
  /** Null for a queue that does not run. */
  ring: VirtqueueState | null;
}

/** 64 bits. A double keeps the upper 53. Addresses of guest memory are far smaller. */
const address = integer(0, 2 ** 64);

export const checkQueueState: Check<QueueState> = record<QueueState>({
  size: u32,
  ready: boolean,
  descriptorTable: address,
  availableRing: address,
  usedRing: address,
  ring: nullable(checkVirtqueueState),
});

/**
 * Returns the registers after a reset.
 * @param size the largest size of the queue
 */
export function resetQueue(size: number): QueueRegisters {
  return { size, ready: false, descriptorTable: 0, availableRing: 0, usedRing: 0 };
}

/** Writes the size or an address of a queue that is not ready. Ignores other registers. */
export function writeQueueRegister(queue: QueueRegisters, offset: number, value: number): void {
  switch (offset) {
    case QUEUE_NUM:
      queue.size = value;
      break;
    case QUEUE_DESC_LOW:
      queue.descriptorTable = withLow(queue.descriptorTable, value);
      break;
    case QUEUE_DESC_HIGH:
      queue.descriptorTable = withHigh(queue.descriptorTable, value);
      break;
    case QUEUE_DRIVER_LOW:
      queue.availableRing = withLow(queue.availableRing, value);
      break;
    case QUEUE_DRIVER_HIGH:
      queue.availableRing = withHigh(queue.availableRing, value);
      break;
    case QUEUE_DEVICE_LOW:
      queue.usedRing = withLow(queue.usedRing, value);
      break;
    case QUEUE_DEVICE_HIGH:
      queue.usedRing = withHigh(queue.usedRing, value);
      break;
  }
}

function withLow(address: number, low: number): number {
  // The address may have been rounded up to 2^64 before.
  return Math.min(Math.floor(address / 2 ** 32) * 2 ** 32 + low, 2 ** 64);
}

function withHigh(address: number, high: number): number {
  return high * 2 ** 32 + (address % 2 ** 32);
}
