// The messages of the vhost-user protocol (QEMU, docs/interop/vhost-user.rst): numbers, sizes and
// fields. Everything is little-endian, the machine's byte order.

// Front-end requests.
export const GET_FEATURES = 1;
export const SET_FEATURES = 2;
export const SET_OWNER = 3;
export const RESET_OWNER = 4;
export const SET_MEM_TABLE = 5;
export const SET_VRING_NUM = 8;
export const SET_VRING_ADDR = 9;
export const SET_VRING_BASE = 10;
export const GET_VRING_BASE = 11;
export const SET_VRING_KICK = 12;
export const SET_VRING_CALL = 13;
export const SET_VRING_ERR = 14;
export const GET_PROTOCOL_FEATURES = 15;
export const SET_PROTOCOL_FEATURES = 16;
export const GET_QUEUE_NUM = 17;
export const SET_VRING_ENABLE = 18;
export const SET_BACKEND_REQ_FD = 21;
export const GET_CONFIG = 24;
export const SET_CONFIG = 25;

/** The virtio feature bit that enables protocol features. */
export const VHOST_USER_F_PROTOCOL_FEATURES = 30;

// Protocol feature bits.
export const VHOST_USER_PROTOCOL_F_MQ = 0;
export const VHOST_USER_PROTOCOL_F_REPLY_ACK = 3;
export const VHOST_USER_PROTOCOL_F_BACKEND_REQ = 5;
export const VHOST_USER_PROTOCOL_F_CONFIG = 9;

/** `request`, `flags`, `size`: u32 each. */
export const HEADER_SIZE = 12;
export const FLAG_VERSION_MASK = 3;
export const FLAG_VERSION = 1;
export const FLAG_REPLY = 4;
export const FLAG_NEED_REPLY = 8;

/** The most memory regions of one table, and therefore the most file descriptors of one message. */
export const MAX_REGIONS = 8;
export const REGION_SIZE = 32;
/** VHOST_USER_MAX_CONFIG_SIZE of QEMU. */
export const MAX_CONFIG = 256;
/** Header of a configuration space message: offset, size, flags. */
export const CONFIG_HEADER_SIZE = 12;
/** The largest payload of the requests above: a configuration space, or a memory table. */
export const MAX_PAYLOAD = Math.max(CONFIG_HEADER_SIZE + MAX_CONFIG, 8 + MAX_REGIONS * REGION_SIZE);

/**
 * In the payload of SET_VRING_KICK, CALL and ERR: the ring's index, and the flag for a message
 * without a descriptor.
 */
export const VRING_INDEX_MASK = 0xff;
export const VRING_NO_FD = 0x100;

/** The front-end broke the protocol. Its connection must be closed. */
export class VhostUserError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'VhostUserError';
  }
}

/** The front-end closed the connection. */
export class FrontEndGone extends Error {
  constructor(options?: ErrorOptions) {
    super('the front-end is gone', options);
    this.name = 'FrontEndGone';
  }
}

export interface Message {
  request: number;
  flags: number;
  payload: DataView;
  /**
   * Descriptors of the message, close-on-exec. A handler removes those it keeps; the rest are
   * closed.
   */
  fds: number[];
}

const NONE = [GET_FEATURES, SET_OWNER, RESET_OWNER, GET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_BACKEND_REQ_FD];
const U64 = [SET_FEATURES, SET_PROTOCOL_FEATURES, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR];
const VRING_STATE = [SET_VRING_NUM, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_ENABLE];
/** Payload sizes of the requests whose size is fixed. */
const PAYLOAD_SIZES = new Map([
  ...NONE.map((request) => [request, 0] as const),
  ...U64.map((request) => [request, 8] as const),
  ...VRING_STATE.map((request) => [request, 8] as const),
  [SET_VRING_ADDR, 40],
]);

/**
 * Checks the size of the payload and the number of descriptors.
 * @throws VhostUserError if one of them is wrong, or the request is unknown
 */
export function checkMessage({ request, payload, fds }: Message): void {
  const size = payload.byteLength;
  let expected = PAYLOAD_SIZES.get(request);
  if (request === SET_MEM_TABLE) {
    expected = size < 8 ? 8 : 8 + payload.getUint32(0, true) * REGION_SIZE;
  } else if (request === GET_CONFIG || request === SET_CONFIG) {
    expected = size < CONFIG_HEADER_SIZE ? CONFIG_HEADER_SIZE : CONFIG_HEADER_SIZE + payload.getUint32(4, true);
  }
  if (expected === undefined) throw new VhostUserError(`unknown request ${request}`);
  // Linux' virtio_uml sends a table with room for two regions, whatever their number is.
  const isTable = request === SET_MEM_TABLE && size % REGION_SIZE === 8;
  if (isTable ? size < expected : size !== expected)
    throw new VhostUserError(`request ${request} has ${size} bytes of payload instead of ${expected}`);
  const most = expectedFds(request, payload);
  if (fds.length !== most)
    throw new VhostUserError(`request ${request} has ${fds.length} descriptors instead of ${most}`);
}

function expectedFds(request: number, payload: DataView): number {
  switch (request) {
    case SET_MEM_TABLE:
      return payload.getUint32(0, true);
    case SET_BACKEND_REQ_FD:
      return 1;
    case SET_VRING_KICK:
    case SET_VRING_CALL:
    case SET_VRING_ERR:
      return (payload.getUint32(0, true) & VRING_NO_FD) === 0 ? 1 : 0;
    default:
      return 0;
  }
}

/**
 * Reads an address or a length of 64 bits. A value above 2^53 loses bits, but exceeds every bound.
 */
export function readU64(payload: DataView, offset: number): number {
  return payload.getUint32(offset, true) + payload.getUint32(offset + 4, true) * 2 ** 32;
}
