// What makes a restored machine different from its snapshot: guest-agent/PROTOCOL.md, "Snapshots".
import { randomUUID } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import type { ContainerIdentity, InterfaceSpec } from '../agent/protocol.js';
import type { Thaw } from '../agent/session.js';

/** Bytes of the kernel's generator that a machine gets. */
const ENTROPY = 64;

/** From the kernel itself: no other generator can have been copied with a process. */
function entropy(): string {
  const bytes = Buffer.alloc(ENTROPY);
  const device = openSync('/dev/urandom', 'r');
  try {
    if (readSync(device, bytes) !== ENTROPY) throw new Error('/dev/urandom: a short read');
  } finally {
    closeSync(device);
  }
  return bytes.toString('hex');
}

const uuid = (): string => randomUUID({ disableEntropyCache: true });

/** The thaw of a machine in which the same containers continue. Call it for each thaw. */
export function continued(): Thaw {
  return { entropy: entropy(), clock: Date.now() * 1000, generation: uuid() };
}

/** A container of a clone, without what is drawn for it. */
export type CloneIdentity = Omit<ContainerIdentity, 'machineId'>;

/**
 * The thaw of a machine that must not be taken for the one that it is a copy of.
 * @param identities one for each container
 * @param network undefined: the addresses are left alone
 */
export function cloned(identities: readonly CloneIdentity[], network?: InterfaceSpec): Thaw {
  return {
    ...continued(),
    bootId: uuid(),
    network,
    identities: identities.map((identity) => ({ ...identity, machineId: uuid().replaceAll('-', '') })),
  };
}
