// The payload of a frame: fields of tag, length and value, described by tables.
// guest-agent/PROTOCOL.md, "Fields".

import {
  type BpfInstruction,
  FIELD_HEADER_LENGTH,
  FIRST_OPTIONAL_TAG,
  type Frame,
  INSTRUCTION_SIZE,
  MAX_INSTRUCTIONS,
  ProtocolError,
} from './frames.js';

const UNLIMITED = 0xffff_ffff_ffff_ffffn;

type Kind =
  /** A u64. `min` is 0 if absent. */
  | { kind: 'integer'; min?: number; max: number }
  /** A u64, 0 or 1. False is not sent. */
  | { kind: 'flag' }
  /** A u64. All ones means `unlimited`. */
  | { kind: 'limit' }
  /** A u64. The number of a name is `first` plus its index. */
  | { kind: 'choice'; names: readonly string[]; first: number }
  /** A u64. Each name sets the bit of its index. */
  | { kind: 'bits'; names: readonly string[] }
  /** UTF-8 without NUL, at most `max` bytes. */
  | { kind: 'text'; max: number }
  /** 1 to 4096 instructions of 8 bytes each. */
  | { kind: 'program' }
  | { kind: 'group'; fields: Fields };

export type Fields = readonly (Kind & { tag: number; name: string; required?: boolean; repeated?: boolean })[];

export interface FrameType {
  number: number;
  type: Frame['type'];
  fields: Fields;
  from: 'host' | 'agent';
  /** If true, the request number of the header is a property of the frame. Otherwise it is 0. */
  request: boolean;
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

function checkInteger(value: unknown, min: number, max: number, where: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw new ProtocolError(`${where}: ${String(value)} is not in ${min} to ${max}`);
  }
  return value;
}

function indexOfName(names: readonly string[], name: unknown, where: string): number {
  const index = names.indexOf(name as string);
  if (index < 0) throw new ProtocolError(`${where}: no such name '${String(name)}'`);
  return index;
}

function encodeProgram(program: readonly BpfInstruction[], where: string): Buffer {
  if (program.length < 1 || program.length > MAX_INSTRUCTIONS) {
    throw new ProtocolError(`${where}: ${program.length} instructions, 1 to ${MAX_INSTRUCTIONS} are possible`);
  }
  const bytes = Buffer.alloc(program.length * INSTRUCTION_SIZE);
  for (const [index, { code, jt, jf, k }] of program.entries()) {
    const at = index * INSTRUCTION_SIZE;
    bytes.writeUInt16LE(checkInteger(code, 0, 0xffff, where), at);
    bytes.writeUInt8(checkInteger(jt, 0, 0xff, where), at + 2);
    bytes.writeUInt8(checkInteger(jf, 0, 0xff, where), at + 3);
    bytes.writeUInt32LE(checkInteger(k, 0, 0xffff_ffff, where), at + 4);
  }
  return bytes;
}

function encodeValue(field: Kind, value: unknown, where: string): Buffer {
  switch (field.kind) {
    case 'integer':
      return u64(BigInt(checkInteger(value, field.min ?? 0, field.max, where)));
    case 'flag':
      return u64(1n);
    case 'limit':
      if (value === 'unlimited') return u64(UNLIMITED);
      return u64(BigInt(checkInteger(value, 0, Number.MAX_SAFE_INTEGER, where)));
    case 'choice':
      return u64(BigInt(field.first + indexOfName(field.names, value, where)));
    case 'bits': {
      let mask = 0n;
      for (const name of value as string[]) mask |= 1n << BigInt(indexOfName(field.names, name, where));
      return u64(mask);
    }
    case 'text': {
      if (typeof value !== 'string') throw new ProtocolError(`${where}: not a string`);
      const bytes = Buffer.from(value, 'utf8');
      if (bytes.includes(0)) throw new ProtocolError(`${where}: has a NUL character`);
      if (bytes.length > field.max)
        throw new ProtocolError(`${where}: ${bytes.length} bytes, at most ${field.max} fit`);
      return bytes;
    }
    case 'program':
      return encodeProgram(value as BpfInstruction[], where);
    case 'group':
      return encodeFields(field.fields, value as object, where);
  }
}

/**
 * Encodes the properties of `value` that `fields` names, in the order of the table.
 * @throws ProtocolError that names the property which is missing or out of range
 */
export function encodeFields(fields: Fields, value: object, where: string): Buffer {
  const parts: Buffer[] = [];
  for (const field of fields) {
    const property = (value as Record<string, unknown>)[field.name];
    const values = field.repeated ? ((property as unknown[] | undefined) ?? []) : [property];
    const path = `${where}.${field.name}`;
    if (field.required && (values.length === 0 || values[0] === undefined)) {
      throw new ProtocolError(`${path}: is missing`);
    }
    for (const item of values) {
      if (item === undefined || (field.kind === 'flag' && item === false)) continue;
      const bytes = encodeValue(field, item, path);
      const header = Buffer.allocUnsafe(FIELD_HEADER_LENGTH);
      header.writeUInt16LE(field.tag, 0);
      header.writeUInt32LE(bytes.length, 2);
      parts.push(header, bytes);
    }
  }
  return Buffer.concat(parts);
}

function decodeInteger(bytes: Buffer, where: string): bigint {
  if (bytes.length !== 8) throw new ProtocolError(`${where}: an integer of ${bytes.length} bytes`);
  return bytes.readBigUInt64LE(0);
}

function decodeNumber(bytes: Buffer, min: number, max: number, where: string): number {
  const value = decodeInteger(bytes, where);
  if (value < BigInt(min) || value > BigInt(max)) throw new ProtocolError(`${where}: ${value} is out of range`);
  return Number(value);
}

function decodeProgram(bytes: Buffer, where: string): BpfInstruction[] {
  const count = bytes.length / INSTRUCTION_SIZE;
  if (!Number.isInteger(count) || count < 1 || count > MAX_INSTRUCTIONS) {
    throw new ProtocolError(`${where}: a program of ${bytes.length} bytes`);
  }
  return Array.from({ length: count }, (_, index) => {
    const at = index * INSTRUCTION_SIZE;
    return {
      code: bytes.readUInt16LE(at),
      jt: bytes.readUInt8(at + 2),
      jf: bytes.readUInt8(at + 3),
      k: bytes.readUInt32LE(at + 4),
    };
  });
}

function decodeValue(field: Kind, bytes: Buffer, where: string): unknown {
  switch (field.kind) {
    case 'integer':
      return decodeNumber(bytes, field.min ?? 0, field.max, where);
    case 'flag':
      return decodeNumber(bytes, 0, 1, where) === 1;
    case 'limit':
      if (decodeInteger(bytes, where) === UNLIMITED) return 'unlimited';
      return decodeNumber(bytes, 0, Number.MAX_SAFE_INTEGER, where);
    case 'choice':
      return field.names[decodeNumber(bytes, field.first, field.first + field.names.length - 1, where) - field.first];
    case 'bits': {
      const mask = decodeInteger(bytes, where);
      if (mask >> BigInt(field.names.length)) throw new ProtocolError(`${where}: has unknown bits`);
      return field.names.filter((_, bit) => (mask >> BigInt(bit)) & 1n);
    }
    case 'text':
      if (bytes.length > field.max)
        throw new ProtocolError(`${where}: ${bytes.length} bytes, at most ${field.max} fit`);
      if (bytes.includes(0)) throw new ProtocolError(`${where}: has a NUL character`);
      return bytes.toString('utf8');
    case 'program':
      return decodeProgram(bytes, where);
    case 'group':
      return decodeFields(field.fields, bytes, where);
  }
}

/**
 * Decodes the properties that a payload carries.
 * @throws ProtocolError if a field is cut short, unknown, given twice, missing or out of range
 */
export function decodeFields(fields: Fields, payload: Buffer, where: string): Record<string, unknown> {
  const value: Record<string, unknown> = {};
  let offset = 0;
  while (offset < payload.length) {
    if (payload.length - offset < FIELD_HEADER_LENGTH) throw new ProtocolError(`${where}: a field is cut short`);
    const tag = payload.readUInt16LE(offset);
    const length = payload.readUInt32LE(offset + 2);
    offset += FIELD_HEADER_LENGTH;
    if (payload.length - offset < length) throw new ProtocolError(`${where}: field ${tag} is cut short`);
    const bytes = payload.subarray(offset, offset + length);
    offset += length;
    const field = fields.find((candidate) => candidate.tag === tag);
    if (!field) {
      if (tag >= FIRST_OPTIONAL_TAG) continue;
      throw new ProtocolError(`${where}: unknown field ${tag}`);
    }
    const path = `${where}.${field.name}`;
    const item = decodeValue(field, bytes, path);
    if (field.repeated) {
      value[field.name] ??= [];
      (value[field.name] as unknown[]).push(item);
    } else if (field.name in value) {
      throw new ProtocolError(`${path}: is given twice`);
    } else {
      value[field.name] = item;
    }
  }
  for (const field of fields) {
    if (field.required && !(field.name in value)) throw new ProtocolError(`${where}.${field.name}: is missing`);
  }
  return value;
}
