// The count of what a volume with a bound has, in a file beside its contents. Each machine that has
// the volume holds a lock on the file, and counts what its guest does (vmm/devices/fs/budget.ts).
// The first one's owner measures the volume before: whatever ended the last one, the count is right.
//
// Each machine has a slot in the file (vmm/devices/fs/deletions.ts), and a lock on a byte that stands
// for it, which ends with the machine's mapping of the file. The owners mark the slots of machines
// that are gone, so that the others wait for them no longer.
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { OwnedDescriptor } from '../../libc/owned-descriptor.js';
import { measureTree } from '../../libc/trees.js';
import { SandboxError } from '../errors.js';
import { tryLockByte, unlockByte } from './lock.js';

/** `u64` bytes, `u64` files. */
const COUNT_SIZE = 16;
/** With the machines' lock (vmm/devices/fs/shared-count.ts), which is free, and their slots. */
const FILE_SIZE = 4096;
const EPOCH = 20;
const SLOTS = 64;
const SLOT_SIZE = 64;
const SLOT_COUNT = 63;
/** In a slot: its state, and the number of deletions that its machine has seen. */
const SEEN = 4;
const FREE = 0;
const LIVE = 1;
const GONE = 2;
/** The byte of the file that is locked while a machine has the volume. */
const USE_BYTE = 0;
/** The bytes that are locked while a machine has a slot. */
const SLOT_BYTE = 1;
/** Milliseconds between looks for machines that are gone. */
const LOOK_TIME = 1000;
/** Milliseconds between looks at another owner that measures. */
const PAUSE = 20;

export interface VolumeUse {
  /** Bytes on the host's disk. */
  bytes: number;
  /** Files and folders, the volume's own included. */
  inodes: number;
}

/** The count of a volume, open for one machine. */
export interface OpenCount {
  fd: number;
  slot: number;
}

/**
 * Opens the count at `path` of the volume whose files are in `data`. The volume is in use until the
 * last copy of the descriptor is closed, and its mappings are gone.
 * @throws Error of the file system, TreeError, SandboxError `state` if too many machines have it
 */
export async function openCount(path: string, data: string): Promise<OpenCount> {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  try {
    for (;;) {
      if (tryLockByte(fd, 'write', USE_BYTE)) {
        await measure(fd, data);
        const slot = takeSlot(fd);
        tryLockByte(fd, 'read', USE_BYTE);
        return { fd, slot };
      }
      if (tryLockByte(fd, 'read', USE_BYTE)) return { fd, slot: takeSlot(fd) };
      await sleep(PAUSE);
    }
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Takes a slot that no machine has, and that no other machine has to look at. */
function takeSlot(fd: number): number {
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    if (!tryLockByte(fd, 'write', SLOT_BYTE + slot)) continue;
    if (stateOf(fd, slot) === FREE) {
      const seen = Buffer.alloc(4);
      readSync(fd, seen, 0, 4, EPOCH);
      // Deletions up to now are of files that this machine cannot open.
      writeSync(fd, seen, 0, 4, SLOTS + slot * SLOT_SIZE + SEEN);
      setState(fd, slot, LIVE);
      return slot;
    }
    markGone(fd, slot);
    unlockByte(fd, SLOT_BYTE + slot);
  }
  throw new SandboxError('state', `${SLOT_COUNT} containers have the volume: no more can have one with a bound`);
}

/**
 * Marks the slots of machines that are gone, now and then.
 * @returns the end of it
 */
export function watchCount(path: string): Disposable {
  const file = new OwnedDescriptor(openSync(path, constants.O_RDWR | constants.O_NOFOLLOW));
  const timer = setInterval(() => markAllGone(file.fd), LOOK_TIME).unref();
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      file[Symbol.dispose]();
    },
  };
}

function markAllGone(fd: number): void {
  const slots = Buffer.alloc(FILE_SIZE);
  readSync(fd, slots, 0, FILE_SIZE, 0);
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    if (slots.readInt32LE(SLOTS + slot * SLOT_SIZE) !== LIVE || !tryLockByte(fd, 'write', SLOT_BYTE + slot)) continue;
    markGone(fd, slot);
    unlockByte(fd, SLOT_BYTE + slot);
  }
}

/** The caller has the slot's lock. */
function markGone(fd: number, slot: number): void {
  if (stateOf(fd, slot) === LIVE) setState(fd, slot, GONE);
}

function stateOf(fd: number, slot: number): number {
  const state = Buffer.alloc(4);
  readSync(fd, state, 0, 4, SLOTS + slot * SLOT_SIZE);
  return state.readInt32LE(0);
}

function setState(fd: number, slot: number, state: number): void {
  const word = Buffer.alloc(4);
  word.writeInt32LE(state);
  writeSync(fd, word, 0, 4, SLOTS + slot * SLOT_SIZE);
}

/** The count at `path` that the last machine left. Undefined if there was none. */
export function readCount(path: string): VolumeUse | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch {
    return undefined;
  }
  try {
    return readOpen(fd);
  } finally {
    closeSync(fd);
  }
}

async function measure(fd: number, data: string): Promise<void> {
  const { unread, ...measured } = await measureTree(data);
  // A guest may close folders of ours to us. What is in them was counted when it was made.
  const before = unread > 0 ? readOpen(fd) : undefined;
  const bytes = Math.max(measured.bytes, before?.bytes ?? 0);
  const inodes = Math.max(measured.inodes, before?.inodes ?? 0);
  const count = Buffer.alloc(FILE_SIZE);
  count.writeBigUInt64LE(BigInt(bytes), 0);
  count.writeBigUInt64LE(BigInt(inodes), 8);
  writeSync(fd, count, 0, FILE_SIZE, 0);
}

function readOpen(fd: number): VolumeUse | undefined {
  const count = Buffer.alloc(COUNT_SIZE);
  if (readSync(fd, count, 0, COUNT_SIZE, 0) !== COUNT_SIZE) return undefined;
  return { bytes: Number(count.readBigUInt64LE(0)), inodes: Number(count.readBigUInt64LE(8)) };
}
