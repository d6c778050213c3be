// MAC addresses, which are six bytes.

/** @throws RangeError for text that is not a MAC address of six bytes */
export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) throw new RangeError(`not a MAC address: ${text}`);
  return Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16));
}

export function isSameMac(mac: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let byte = 0; byte < 6; byte++) if (mac[byte] !== bytes[at + byte]) return false;
  return true;
}
