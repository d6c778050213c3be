// DNS messages (RFC 1035), as far as a policy that goes by names needs them: the one question of a query, and the
// addresses that an answer gives for it. A message that is not wholly understood is none.
import { u16, u32 } from './frame.js';

export const DNS_PORT = 53;
const HEADER = 12;
/** RFC 6891: more than a resolver sends by UDP. */
export const MAX_MESSAGE = 4096;

const FLAG_RESPONSE = 0x8000;
const FLAG_TRUNCATED = 0x0200;
const FLAG_RECURSION = 0x0080;
const OPCODE = 0x7800;
const RCODE = 0x000f;
const RCODE_REFUSED = 5;

const TYPE_A = 1;
const TYPE_CNAME = 5;
const TYPE_AAAA = 28;
const TYPE_OPT = 41;
const CLASS_IN = 1;

const MAX_NAME = 255;
const MAX_RECORDS = 256;
/** Options of a query (RFC 6891) that a cookie fits in (RFC 7873), and no message. */
const MAX_OPTIONS = 48;
/** What the answer's flags keep of the query's: its opcode, recursion desired, checking disabled. */
const KEPT_FLAGS = 0x7910;

export interface Question {
  id: number;
  /** In lower case, without the last dot. */
  name: string;
  type: number;
  /** Where the question ends in the message. */
  end: number;
}

export interface ResolvedAddress {
  /** 4 or 16 bytes of the message. */
  bytes: Uint8Array;
  /** Seconds. */
  timeToLive: number;
}

/** The question of a query; undefined for what is no query of one question and nothing else but EDNS options. */
export function parseQuery(message: Uint8Array): Question | undefined {
  if (message.length < HEADER || message.length > MAX_MESSAGE) return undefined;
  if ((u16(message, 2) & (FLAG_RESPONSE | OPCODE)) !== 0) return undefined;
  const question = parseQuestion(message);
  const additional = u16(message, 10);
  if (question === undefined || u16(message, 6) !== 0 || u16(message, 8) !== 0 || additional > 1) return undefined;
  return optionsEnd(message, question.end, additional) === message.length ? question : undefined;
}

/** Where an OPT record at `at` ends, or `at` where there is none to be; -1 for another record. */
function optionsEnd(message: Uint8Array, at: number, count: number): number {
  if (count === 0) return at;
  if (at + 11 > message.length || message[at] !== 0 || u16(message, at + 1) !== TYPE_OPT) return -1;
  const length = u16(message, at + 9);
  return length > MAX_OPTIONS ? -1 : at + 11 + length;
}

function parseQuestion(message: Uint8Array): Question | undefined {
  if (u16(message, 4) !== 1) return undefined;
  const name = readName(message, HEADER, HEADER);
  if (name === undefined || name.end + 4 > message.length || u16(message, name.end + 2) !== CLASS_IN) return undefined;
  return { id: u16(message, 0), name: name.text, type: u16(message, name.end), end: name.end + 4 };
}

/**
 * The addresses that an answer to `question` has for its name, or for those that its name is an alias of. An answer to
 * another question, a refusal, or nonsense has none.
 */
export function parseAnswer(message: Uint8Array, question: Question): ResolvedAddress[] {
  if (message.length < HEADER) return [];
  const flags = u16(message, 2);
  if ((flags & FLAG_RESPONSE) === 0 || (flags & (OPCODE | RCODE | FLAG_TRUNCATED)) !== 0) return [];
  const asked = parseQuestion(message);
  if (asked === undefined || asked.id !== question.id || asked.name !== question.name || asked.type !== question.type) {
    return [];
  }
  return readAddresses(message, asked) ?? [];
}

function readAddresses(message: Uint8Array, { name, end }: Question): ResolvedAddress[] | undefined {
  const addresses: ResolvedAddress[] = [];
  const aliases = new Set([name]);
  const count = u16(message, 6);
  if (count > MAX_RECORDS) return undefined;
  let at = end;
  for (let record = 0; record < count; record++) {
    const owner = readName(message, at, at);
    if (owner === undefined || owner.end + 10 > message.length) return undefined;
    const type = u16(message, owner.end);
    const isInternet = u16(message, owner.end + 2) === CLASS_IN;
    const timeToLive = u32(message, owner.end + 4);
    const data = owner.end + 10;
    const length = u16(message, owner.end + 8);
    at = data + length;
    if (at > message.length) return undefined;
    if (!isInternet || !aliases.has(owner.text)) continue;
    if (type === TYPE_CNAME) {
      const target = readName(message, data, data);
      if (target === undefined || target.end !== at) return undefined;
      aliases.add(target.text);
    } else if (type === TYPE_A || type === TYPE_AAAA) {
      if (length !== (type === TYPE_A ? 4 : 16)) return undefined;
      addresses.push({ bytes: message.subarray(data, at), timeToLive });
    }
  }
  return addresses;
}

/**
 * A name and where it ends. Pointers lead backwards only, each further than the one before, so that there is an end.
 * @param before what a pointer has to point before
 */
function readName(message: Uint8Array, start: number, before: number): { text: string; end: number } | undefined {
  const labels: string[] = [];
  let at = start;
  let limit = before;
  let end = -1;
  for (let length = 0; length <= MAX_NAME; ) {
    if (at >= message.length) return undefined;
    const size = message[at]!;
    if (size === 0) return { text: labels.join('.'), end: end < 0 ? at + 1 : end };
    if (size >= 0xc0) {
      if (at + 1 >= message.length) return undefined;
      const target = u16(message, at) & 0x3fff;
      if (target >= limit || target < HEADER) return undefined;
      if (end < 0) end = at + 2;
      limit = target;
      at = target;
      continue;
    }
    if (size > 63 || at + 1 + size > message.length) return undefined;
    const label = readLabel(message, at + 1, size);
    if (label === undefined) return undefined;
    labels.push(label);
    length += size + 1;
    at += size + 1;
  }
  return undefined;
}

/** A label in lower case: letters, digits, hyphens and underscores, which no rule's name can mean otherwise. */
function readLabel(message: Uint8Array, at: number, size: number): string | undefined {
  const label = Buffer.from(message.buffer, message.byteOffset + at, size)
    .toString('latin1')
    .toLowerCase();
  return /^[a-z0-9_-]+$/.test(label) ? label : undefined;
}

/** Seconds that an answer of ours may be kept: who has a name may change at any time. */
const OWN_TIME = 5;

/** The answer to a query whose question is `question`: these addresses, of 4 or 16 bytes, or none of that type. */
export function answerQuery(message: Uint8Array, question: Question, addresses: readonly Uint8Array[]): Uint8Array {
  const records = addresses
    .filter(({ length }) => question.type === (length === 4 ? TYPE_A : TYPE_AAAA))
    .map((address) => {
      const record = new Uint8Array(12 + address.length);
      const view = new DataView(record.buffer);
      // The owner is the question's name, which follows the header.
      view.setUint16(0, 0xc000 | HEADER);
      view.setUint16(2, question.type);
      view.setUint16(4, CLASS_IN);
      view.setUint32(6, OWN_TIME);
      view.setUint16(10, address.length);
      record.set(address, 12);
      return record;
    });
  const flags = (u16(message, 2) & KEPT_FLAGS) | FLAG_RESPONSE | FLAG_RECURSION;
  const head = Uint8Array.from(message.subarray(0, question.end));
  head.set([flags >> 8, flags & 0xff, 0, 1, 0, records.length, 0, 0, 0, 0], 2);
  return Buffer.concat([head, ...records]);
}

/**
 * The answer that a resolver gives which does not want to: the query's question, and the code REFUSED. Undefined for what
 * has no header.
 */
export function refuseQuery(message: Uint8Array): Uint8Array | undefined {
  if (message.length < HEADER) return undefined;
  const question = parseQuestion(message);
  const answer = Uint8Array.from(message.subarray(0, question?.end ?? HEADER));
  const flags = (u16(message, 2) & KEPT_FLAGS) | FLAG_RESPONSE | RCODE_REFUSED;
  answer.set([flags >> 8, flags & 0xff, 0, question === undefined ? 0 : 1, 0, 0, 0, 0, 0, 0], 2);
  return answer;
}
