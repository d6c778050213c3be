// What host and guest agent say to each other, as plain objects. protocol.ts turns these into bytes and back.
// Specification: guest-agent/PROTOCOL.md.
export * from './frames.generated.js';

/** The other side broke the protocol, or a frame to send has a value out of range. */
export class ProtocolError extends Error {
  override name = 'ProtocolError';
}
