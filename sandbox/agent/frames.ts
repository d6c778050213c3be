// The frames of host and guest agent as plain objects. protocol.ts encodes and decodes them.
// Specification: guest-agent/PROTOCOL.md.
import type { ContainerRequest, MachineRequest, ProcessRequest } from './frames.generated.js';

export * from './frames.generated.js';

/** The other side violated the protocol, or a value of a frame to send is out of range. */
export class ProtocolError extends Error {
  override name = 'ProtocolError';
}

/** The set-up of a machine. */
export type MachineSetup = Omit<MachineRequest, 'type' | 'request'>;
/** The description of a container. */
export type ContainerSetup = Omit<ContainerRequest, 'type' | 'request'>;
/** The description of a process, without its container. */
export type ProcessSpec = Omit<ProcessRequest, 'type' | 'request' | 'container'>;
