// Detects a compression format by the first bytes of the data. File names and media types are
// ignored.

export type Compression = 'none' | 'gzip' | 'zstd' | 'xz' | 'bzip2';

/** Bytes of the longest magic number. */
export const MAGIC_SIZE = 6;
const MAGICS: [Compression, Buffer][] = [
  ['gzip', Buffer.from([0x1f, 0x8b])],
  ['zstd', Buffer.from([0x28, 0xb5, 0x2f, 0xfd])],
  ['xz', Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])],
  ['bzip2', Buffer.from('BZh', 'latin1')],
];

/** The compression format of data that begins with these bytes. */
export function compressionOf(start: Uint8Array): Compression {
  const found = MAGICS.find(([, magic]) => magic.equals(start.subarray(0, magic.length)));
  return found ? found[0] : 'none';
}
