// Writes ACPI Machine Language: ACPI specification 6.5, section 20 "ACPI Machine Language (AML)
// Specification". Each function returns the bytes of one term.

const NAME_OP = 0x08;
const BYTE_PREFIX = 0x0a;
const WORD_PREFIX = 0x0b;
const DWORD_PREFIX = 0x0c;
const STRING_PREFIX = 0x0d;
const SCOPE_OP = 0x10;
const BUFFER_OP = 0x11;
const EXTENDED_OP = 0x5b;
const DEVICE_OP = 0x82;

export type Term = Uint8Array;

/** Bytes of a package length by the bits that it needs: 6 bits in one byte, then 4 more and 8 for each. */
const LENGTH_BITS = [6, 12, 20, 28];

/** The length of a package, itself included (20.2.4). @throws RangeError for 2^28 bytes or more */
export function packageLength(contents: number): Uint8Array {
  const size = LENGTH_BITS.findIndex((bits, index) => contents + index + 1 < 2 ** bits) + 1;
  if (size === 0) throw new RangeError(`an AML package cannot have ${contents} bytes`);
  const length = contents + size;
  if (size === 1) return Uint8Array.of(length);
  const bytes = Uint8Array.of(((size - 1) << 6) | (length & 0xf), ...new Uint8Array(size - 1));
  for (let index = 1; index < size; index++) bytes[index] = (length >>> (4 + 8 * (index - 1))) & 0xff;
  return bytes;
}

function packageOf(opcode: readonly number[], contents: readonly Uint8Array[]): Term {
  const body = Buffer.concat(contents);
  return Buffer.concat([Uint8Array.from(opcode), packageLength(body.length), body]);
}

/** A name of one segment: up to 4 capitals, digits and underscores (20.2.2). @throws RangeError */
function segment(name: string): Uint8Array {
  if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(name)) throw new RangeError(`not a name of AML: ${name}`);
  return Buffer.from(name.padEnd(4, '_'), 'latin1');
}

/** @throws RangeError if `value` is no integer of 32 bits without sign */
export function integer(value: number): Term {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** 32) throw new RangeError(`not a DWord: ${value}`);
  if (value <= 1) return Uint8Array.of(value);
  if (value <= 0xff) return Uint8Array.of(BYTE_PREFIX, value);
  if (value <= 0xffff) return Uint8Array.of(WORD_PREFIX, value & 0xff, value >>> 8);
  const dword = Buffer.alloc(5, DWORD_PREFIX);
  dword.writeUInt32LE(value, 1);
  return dword;
}

/** @throws RangeError if `value` is not ASCII */
export function text(value: string): Term {
  if (!/^[\x01-\x7f]*$/.test(value)) throw new RangeError('a string of AML is ASCII');
  return Buffer.from(`${String.fromCharCode(STRING_PREFIX)}${value}\0`, 'latin1');
}

/** An identifier such as PNP0501, packed into a DWord (19.6.36, EISAID). @throws RangeError */
export function eisaId(id: string): Term {
  const [, letters, digits] = /^([A-Z]{3})([0-9A-F]{4})$/.exec(id) ?? [];
  if (letters === undefined || digits === undefined) throw new RangeError(`not an EISA identifier: ${id}`);
  const vendor = [...letters].reduce((packed, letter) => (packed << 5) | (letter.charCodeAt(0) - 0x40), 0);
  const product = Number.parseInt(digits, 16);
  return Uint8Array.of(DWORD_PREFIX, vendor >>> 8, vendor & 0xff, product >>> 8, product & 0xff);
}

export function buffer(bytes: Uint8Array): Term {
  return packageOf([BUFFER_OP], [integer(bytes.length), bytes]);
}

export function name(called: string, value: Term): Term {
  return Buffer.concat([Uint8Array.of(NAME_OP), segment(called), value]);
}

export function device(called: string, contents: readonly Term[]): Term {
  return packageOf([EXTENDED_OP, DEVICE_OP], [segment(called), ...contents]);
}

/** A scope directly below the root. */
export function scope(called: string, contents: readonly Term[]): Term {
  return packageOf([SCOPE_OP], [Buffer.from('\\'), segment(called), ...contents]);
}
