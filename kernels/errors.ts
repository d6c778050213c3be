// The error of this room.

/** A kernel can't be built, and why. */
export class KernelError extends Error {
  override readonly name = 'KernelError';
}
