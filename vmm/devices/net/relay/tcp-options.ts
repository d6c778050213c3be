// The TCP options of a SYN: maximum segment size and window scale (RFC 9293, 3.2; RFC 7323, 2.2).
import { isIPv4Address } from '../../../../addresses/ip.js';

const END = 0;
const NO_OPERATION = 1;
const MSS = 2;
const WINDOW_SCALE = 3;
const HEADER = 20;
/** Without the option (RFC 9293, 3.7.1). */
const DEFAULT_MSS = 536;

export interface SynOptions {
  mss: number;
  /** -1: none. */
  scale: number;
}

const parsed: SynOptions = { mss: DEFAULT_MSS, scale: -1 };

/**
 * Parses the options of a header of `length` bytes at `tcp`. Options that are malformed are
 * ignored, as is all after them. The result is valid until the next call.
 */
export function parseSynOptions(bytes: Uint8Array, tcp: number, length: number): SynOptions {
  parsed.mss = DEFAULT_MSS;
  parsed.scale = -1;
  const end = tcp + length;
  for (let at = tcp + HEADER; at < end; ) {
    const kind = bytes[at]!;
    if (kind === END) break;
    if (kind === NO_OPERATION) {
      at++;
      continue;
    }
    const size = at + 1 < end ? bytes[at + 1]! : 0;
    if (size < 2 || at + size > end) break;
    if (kind === MSS && size === 4) parsed.mss = (bytes[at + 2]! << 8) | bytes[at + 3]!;
    else if (kind === WINDOW_SCALE && size === 3) parsed.scale = bytes[at + 2]!;
    at += size;
  }
  return parsed;
}

/**
 * Writes the options of a SYN before `end`. Returns their length.
 * @param mtu of the link
 * @param scale -1: none
 */
export function writeSynOptions(view: DataView, end: number, remote: Uint32Array, scale: number, mtu: number): number {
  const mss = mtu - (isIPv4Address(remote) ? 40 : 60);
  const length = scale < 0 ? 4 : 8;
  const at = end - length;
  view.setUint32(at, (MSS << 24) | (4 << 16) | mss);
  if (scale >= 0) view.setUint32(at + 4, (NO_OPERATION << 24) | (WINDOW_SCALE << 16) | (3 << 8) | scale);
  return length;
}
