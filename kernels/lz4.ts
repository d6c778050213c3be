// Decompresses LZ4's legacy frames, as the kernel's build makes them: lz4_Frame_format.md, "Legacy
// frame", and lz4_Block_format.md in LZ4's source. Node.js has no LZ4, nor has a bare Debian.

const LEGACY_MAGIC = 0x184c2102;
/** The most that a block of a legacy frame has when it is decompressed. */
const BLOCK_SIZE = 8 * 2 ** 20;
const SHORTEST_MATCH = 4;

/**
 * Decompresses `size` bytes.
 * @throws RangeError if the frame is malformed, or has another size
 */
export function decompressLz4(frame: Uint8Array, size: number): Uint8Array {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (view.getUint32(0, true) !== LEGACY_MAGIC) throw new RangeError('not a legacy frame of LZ4');
  const output = new Uint8Array(size);
  let written = 0;
  for (let at = 4; at < frame.length && written < size; ) {
    const end = at + 4 + view.getUint32(at, true);
    if (end > frame.length) throw new RangeError('an LZ4 block is truncated');
    const room = output.subarray(written, Math.min(size, written + BLOCK_SIZE));
    written += decompressBlock(frame.subarray(at + 4, end), room);
    at = end;
  }
  if (written !== size) throw new RangeError(`an LZ4 frame has ${written} bytes, not ${size}`);
  return output;
}

/** Returns the number of bytes written. */
function decompressBlock(block: Uint8Array, output: Uint8Array): number {
  let at = 0;
  let to = 0;
  const byte = (): number => {
    const value = block[at++];
    if (value === undefined) throw new RangeError('an LZ4 block is truncated');
    return value;
  };
  /** A length that begins with 4 bits; 15 is followed by more bytes, the last of which is not 255. */
  const length = (bits: number): number => {
    let sum = bits;
    if (bits === 15) {
      let more: number;
      do {
        more = byte();
        sum += more;
      } while (more === 255);
    }
    return sum;
  };
  while (at < block.length) {
    const token = byte();
    const literals = length(token >> 4);
    if (at + literals > block.length || to + literals > output.length) throw new RangeError('LZ4: literals too long');
    output.set(block.subarray(at, at + literals), to);
    at += literals;
    to += literals;
    // The last sequence has literals only.
    if (at === block.length) break;
    const distance = byte() | (byte() << 8);
    const match = length(token & 15) + SHORTEST_MATCH;
    if (distance === 0 || distance > to || to + match > output.length) throw new RangeError('LZ4: a wrong match');
    // The source may overlap the target: each byte may be one that was just written.
    if (distance >= match) output.copyWithin(to, to - distance, to - distance + match);
    else for (let index = 0; index < match; index++) output[to + index] = output[to + index - distance] ?? 0;
    to += match;
  }
  return to;
}
