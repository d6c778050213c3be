// What bytes are compressed with is told by the first of them, not by what anybody says.

export type Compression = 'none' | 'gzip' | 'zstd' | 'xz' | 'bzip2';

/** As many bytes as the longest of the marks. */
export const MAGIC_SIZE = 6;
const MAGICS: [Compression, Buffer][] = [
  ['gzip', Buffer.from([0x1f, 0x8b])],
  ['zstd', Buffer.from([0x28, 0xb5, 0x2f, 0xfd])],
  ['xz', Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])],
  ['bzip2', Buffer.from('BZh', 'latin1')],
];

/** What bytes that begin so are compressed with. */
export function compressionOf(start: Uint8Array): Compression {
  const found = MAGICS.find(([, magic]) => magic.equals(start.subarray(0, magic.length)));
  return found ? found[0] : 'none';
}
