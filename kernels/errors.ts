// The error of this room.

/** A kernel cannot be built. The message says why. */
export class KernelError extends Error {
  override readonly name = 'KernelError';
}
