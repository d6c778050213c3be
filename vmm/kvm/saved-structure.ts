// Kernel structures as text, for a saved machine, and the checks of that text.
import { type Check, FieldError } from '../saved-state.js';

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
const U64_END = 2n ** 64n;

/** Returns the bytes of a structure in base64. */
export function encodeStructure(bytes: NodeJS.ArrayBufferView): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

/** Checks and decodes a saved structure of `size` bytes. */
export function structure(size: number): Check<Uint8Array> {
  return (value) => {
    const bytes = typeof value === 'string' && BASE64.test(value) ? Buffer.from(value, 'base64') : undefined;
    if (bytes?.length === size) return bytes;
    throw new FieldError(`a structure of ${size} bytes in base64`);
  };
}

/** Checks and decodes an unsigned 64-bit integer in decimal digits. */
export const u64: Check<bigint> = (value) => {
  const integer = typeof value === 'string' && /^\d{1,20}$/.test(value) ? BigInt(value) : undefined;
  if (integer !== undefined && integer < U64_END) return integer;
  throw new FieldError('an unsigned 64-bit integer in decimal digits');
};
