// Kernel structures as text, for a saved machine.

/** Returns the bytes of a structure in base64. */
export function encodeStructure(bytes: NodeJS.ArrayBufferView): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

/**
 * Decodes a saved structure.
 * @throws RangeError if it is not `size` bytes long
 */
export function decodeStructure(base64: string, size: number): Uint8Array {
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.length !== size) throw new RangeError(`a saved structure has ${bytes.length} bytes, not ${size}`);
  return bytes;
}
