// Packets of the socket device (virtio 1.2, 5.10.6 "Device Operation"): the header before each
// packet's payload.

/** `struct virtio_vsock_hdr` in bytes. */
export const HEADER_SIZE = 44;

/** The host's well-known context identifier (virtio 1.2, 5.10.4). */
export const HOST_CID = 2;

export const VIRTIO_VSOCK_TYPE_STREAM = 1;

// Operations (virtio 1.2, 5.10.6).
export const VIRTIO_VSOCK_OP_REQUEST = 1;
export const VIRTIO_VSOCK_OP_RESPONSE = 2;
export const VIRTIO_VSOCK_OP_RST = 3;
export const VIRTIO_VSOCK_OP_SHUTDOWN = 4;
export const VIRTIO_VSOCK_OP_RW = 5;
export const VIRTIO_VSOCK_OP_CREDIT_UPDATE = 6;
export const VIRTIO_VSOCK_OP_CREDIT_REQUEST = 7;

// Flags of SHUTDOWN: the sender will not receive any more, will not send any more (virtio 1.2,
// 5.10.6.6).
export const VIRTIO_VSOCK_SHUTDOWN_RCV = 1;
export const VIRTIO_VSOCK_SHUTDOWN_SEND = 2;
export const SHUTDOWN_BOTH = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND;

/**
 * One header, read or written field by field over {@link bytes}. A context identifier is 64 bits,
 * exact up to 2^53.
 */
export class PacketHeader {
  readonly bytes = new Uint8Array(HEADER_SIZE);
  readonly #view = new DataView(this.bytes.buffer);

  get sourceCid(): number {
    return this.#view.getUint32(0, true) + this.#view.getUint32(4, true) * 2 ** 32;
  }
  set sourceCid(cid: number) {
    this.#view.setUint32(0, cid % 2 ** 32, true);
    this.#view.setUint32(4, Math.floor(cid / 2 ** 32), true);
  }
  get destinationCid(): number {
    return this.#view.getUint32(8, true) + this.#view.getUint32(12, true) * 2 ** 32;
  }
  set destinationCid(cid: number) {
    this.#view.setUint32(8, cid % 2 ** 32, true);
    this.#view.setUint32(12, Math.floor(cid / 2 ** 32), true);
  }
  get sourcePort(): number {
    return this.#view.getUint32(16, true);
  }
  set sourcePort(port: number) {
    this.#view.setUint32(16, port, true);
  }
  get destinationPort(): number {
    return this.#view.getUint32(20, true);
  }
  set destinationPort(port: number) {
    this.#view.setUint32(20, port, true);
  }
  get length(): number {
    return this.#view.getUint32(24, true);
  }
  set length(length: number) {
    this.#view.setUint32(24, length, true);
  }
  get type(): number {
    return this.#view.getUint16(28, true);
  }
  set type(type: number) {
    this.#view.setUint16(28, type, true);
  }
  get operation(): number {
    return this.#view.getUint16(30, true);
  }
  set operation(operation: number) {
    this.#view.setUint16(30, operation, true);
  }
  get flags(): number {
    return this.#view.getUint32(32, true);
  }
  set flags(flags: number) {
    this.#view.setUint32(32, flags, true);
  }
  /** The sender's buffer space in bytes. */
  get bufferAllocation(): number {
    return this.#view.getUint32(36, true);
  }
  set bufferAllocation(bytes: number) {
    this.#view.setUint32(36, bytes, true);
  }
  /** Bytes that the sender has taken out of its buffer so far, modulo 2^32. */
  get forwardCount(): number {
    return this.#view.getUint32(40, true);
  }
  set forwardCount(bytes: number) {
    this.#view.setUint32(40, bytes, true);
  }
}
