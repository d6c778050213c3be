// 64-bit little-endian integers as numbers. Sizes and guest addresses are below 2^53. A larger
// value loses its low bits, but is refused as out of range all the same.

/** Returns the unsigned 64-bit integer at `offset`, rounded to a double. */
export function getUint64(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
}

/** Writes `value`, an integer from 0 to 2^53 - 1, as 64 bits at `offset`. */
export function setUint64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}
