// What makes a restored machine different from its snapshot: guest-agent/PROTOCOL.md, "Snapshots".
import { randomUUID } from 'node:crypto';
import type { ContainerIdentity, InterfaceSpec } from '../agent/protocol.js';
import type { Thaw } from '../agent/session.js';
import { randomBytesOfKernel } from '../random-number.js';

/** Bytes of the kernel's generator that a machine gets. */
const ENTROPY = 64;

/** No other generator than the kernel's own can have been copied with a process. */
const entropy = (): string => randomBytesOfKernel(ENTROPY).toString('hex');

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
