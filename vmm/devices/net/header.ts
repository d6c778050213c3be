// The header before each frame of a virtio-net device (virtio 1.2, 5.1.6 "Device Operation"): the
// pending checksum and segmentation. The driver's header is never passed on. It is checked against
// the frame and rebuilt, because completing a checksum writes two bytes at an offset that the
// header gives.
import { type Frame, TCP, UDP, u16 } from './frame.js';

/** `struct virtio_net_hdr` with `num_buffers`. */
export const NET_HEADER = 12;
export const NUM_BUFFERS = 10;

export const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
export const VIRTIO_NET_HDR_F_DATA_VALID = 2;
export const VIRTIO_NET_HDR_GSO_NONE = 0;
export const VIRTIO_NET_HDR_GSO_TCPV4 = 1;
export const VIRTIO_NET_HDR_GSO_TCPV6 = 4;
const VIRTIO_NET_HDR_GSO_ECN = 0x80;

const TCP_CHECKSUM = 16;
const UDP_CHECKSUM = 6;

/** The header, little-endian. `view` is a view of `bytes`, which always has all fields. */
export class NetHeader {
  readonly bytes = new Uint8Array(NET_HEADER);
  readonly view = new DataView(this.bytes.buffer);

  get needsChecksum(): boolean {
    return (this.bytes[0]! & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0;
  }

  get isSegmented(): boolean {
    return this.bytes[1] !== VIRTIO_NET_HDR_GSO_NONE;
  }

  /**
   * Checks the driver's header against its frame, and rebuilds it from the checked parts.
   * @param checksum the checksum offload was negotiated
   * @param segmentation a segmentation offload was negotiated
   * @returns what is wrong, or undefined
   */
  settle(frame: Frame, checksum: boolean, segmentation: boolean): string | undefined {
    const { view } = this;
    const flags = this.bytes[0]!;
    const type = this.bytes[1]! & ~VIRTIO_NET_HDR_GSO_ECN;
    const ecn = this.bytes[1]! & VIRTIO_NET_HDR_GSO_ECN;
    const size = view.getUint16(4, true);
    const start = view.getUint16(6, true);
    const offset = view.getUint16(8, true);
    this.bytes.fill(0);
    if ((flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0) {
      const field = frame.kind === TCP ? TCP_CHECKSUM : frame.kind === UDP ? UDP_CHECKSUM : -1;
      if (!checksum || start !== frame.transport || offset !== field) return 'a checksum in another place';
      this.bytes[0] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
      view.setUint16(6, start, true);
      view.setUint16(8, offset, true);
    }
    if (type === VIRTIO_NET_HDR_GSO_NONE) return ecn === 0 ? undefined : 'segments of no kind';
    const expected = frame.isIPv4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
    if (!segmentation || type !== expected || frame.kind !== TCP || !this.needsChecksum || size === 0) {
      return 'segments of another kind';
    }
    this.bytes[1] = type | ecn;
    // The parsed frame gives the length of the headers, not the driver.
    view.setUint16(2, frame.payload, true);
    view.setUint16(4, size, true);
    return undefined;
  }
}

/**
 * Adds the Internet checksum's sum (RFC 1071) over `length` bytes to `sum`. {@link foldChecksum}
 * makes a checksum of it.
 */
export function addChecksum(bytes: Uint8Array, start: number, length: number, sum = 0): number {
  let total = sum;
  const even = start + (length & ~1);
  for (let at = start; at < even; at += 2) total += u16(bytes, at);
  if ((length & 1) !== 0) total += bytes[even]! << 8;
  return total;
}

/** Folds a sum of at most 2^48 into the checksum of 16 bits. */
export function foldChecksum(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return 0xffff - folded;
}

/** Completes the checksum of the frame at `start`, and clears the request for it in the header. */
export function completeChecksum(header: NetHeader, bytes: Uint8Array, start: number, frame: Frame): void {
  const at = start + header.view.getUint16(6, true);
  const field = at + header.view.getUint16(8, true);
  // The field holds the pseudo header's sum (virtio 1.2, 5.1.6.2).
  const sum = foldChecksum(addChecksum(bytes, at, start + frame.end - at));
  // A UDP checksum of 0 means that there is none.
  const checksum = sum === 0 && frame.kind === UDP ? 0xffff : sum;
  bytes[field] = checksum >> 8;
  bytes[field + 1] = checksum & 0xff;
  header.bytes.fill(0);
}
