// What host and guest agent say to each other, as plain objects. protocol.ts turns these into bytes and back.
// Specification: guest-agent/PROTOCOL.md.
import type { ContainerRequest, MachineRequest, ProcessRequest } from './frames.generated.js';

export * from './frames.generated.js';

/** The other side broke the protocol, or a frame to send has a value out of range. */
export class ProtocolError extends Error {
  override name = 'ProtocolError';
}

/** What sets the machine up. */
export type MachineSetup = Omit<MachineRequest, 'type' | 'request'>;
/** A container to make. */
export type ContainerSetup = Omit<ContainerRequest, 'type' | 'request'>;
/** A process, apart from the container that it runs in. */
export type ProcessSpec = Omit<ProcessRequest, 'type' | 'request' | 'container'>;
