// The DNS messages (RFC 1035) that a policy of names needs: the single question of a query, and the
// addresses in an answer. A message with any part that is not understood is rejected.
import { u16, u32 } from './frame.js';

export const DNS_PORT = 53;
const HEADER = 12;
/** RFC 6891: larger than any answer by UDP. */
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
/** Meta types (RFC 6895, 3.1): TKEY, TSIG, transfers of zones, mailboxes, everything. */
const FIRST_META_TYPE = 249;
const LAST_META_TYPE = 255;
const CLASS_IN = 1;

const MAX_NAME = 255;
const MAX_RECORDS = 256;
/**
 * Longest options of a query (RFC 6891): long enough for a cookie (RFC 7873), too short to smuggle
 * data.
 */
const MAX_OPTIONS = 48;
/** Flags that an answer copies from the query: opcode, recursion desired, checking disabled. */
const KEPT_FLAGS = 0x7910;

export interface Question {
  id: number;
  /** In lower case, without the last dot. */
  name: string;
  type: number;
  /** Offset of the question's end in the message. */
  end: number;
}

export interface ResolvedAddress {
  /** The address: 4 or 16 bytes of the message. */
  bytes: Uint8Array;
  /** Seconds. */
  timeToLive: number;
}

/**
 * The question of a query; undefined unless it has one question and nothing more than EDNS options.
 */
export function parseQuery(message: Uint8Array): Question | undefined {
  if (message.length < HEADER || message.length > MAX_MESSAGE) return undefined;
  if ((u16(message, 2) & (FLAG_RESPONSE | OPCODE)) !== 0) return undefined;
  const question = parseQuestion(message);
  const additional = u16(message, 10);
  if (question === undefined || u16(message, 6) !== 0 || u16(message, 8) !== 0 || additional > 1) return undefined;
  return optionsEnd(message, question.end, additional) === message.length ? question : undefined;
}

/** Returns true if the question is about a name, rather than a zone, a key or everything at once. */
export function isPlain({ type }: Question): boolean {
  return type < FIRST_META_TYPE || type > LAST_META_TYPE;
}

/** The questions of a TCP segment (RFC 1035, 4.2.2); undefined unless it has whole queries only. */
export function parseQueries(segment: Uint8Array): Question[] | undefined {
  const questions: Question[] = [];
  for (let at = 0; at < segment.length; ) {
    const end = at + 2 + u16(segment, at);
    const question = end <= segment.length ? parseQuery(segment.subarray(at + 2, end)) : undefined;
    if (question === undefined) return undefined;
    questions.push(question);
    at = end;
  }
  return questions;
}

/** The question that a response answers; undefined for any other message. */
export function questionOf(message: Uint8Array): Question | undefined {
  if (message.length < HEADER || (u16(message, 2) & FLAG_RESPONSE) === 0) return undefined;
  return parseQuestion(message);
}

/** Returns true for an error response without the question, as to a query in an unknown format. */
export function isBareRefusal(message: Uint8Array, id: number): boolean {
  if (message.length !== HEADER || u16(message, 0) !== id || u16(message, 4) !== 0) return false;
  return (u16(message, 2) & FLAG_RESPONSE) !== 0 && (u16(message, 2) & RCODE) !== 0;
}

/** Returns true for a response that says that TCP has the rest. */
export function isTruncated(message: Uint8Array): boolean {
  return message.length >= HEADER && (u16(message, 2) & FLAG_TRUNCATED) !== 0;
}

/**
 * The end of the OPT record at `at`; `at` itself if no record is announced; -1 for another record.
 */
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
 * The addresses in an answer to `question`, for its name or for the names that it is an alias of.
 * Empty for an answer to another question, for a refusal, and for an invalid message.
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
 * Reads a name. Each pointer must lead further back than the one before, so that reading ends.
 * @param before an offset that the first pointer must be below
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

/**
 * A label in lower case. Undefined unless it has letters, digits, hyphens and underscores only, as
 * rules have.
 */
function readLabel(message: Uint8Array, at: number, size: number): string | undefined {
  const label = Buffer.from(message.buffer, message.byteOffset + at, size)
    .toString('latin1')
    .toLowerCase();
  return /^[a-z0-9_-]+$/.test(label) ? label : undefined;
}

/** Time to live of our answers in seconds. A name may move to another peer at any time. */
const OWN_TIME = 5;

/**
 * The answer to a query: those of the addresses, of 4 or 16 bytes, that have the type asked for.
 */
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
 * A resolver's answer REFUSED: the query's question and that code. Undefined for a message without
 * a header.
 */
export function refuseQuery(message: Uint8Array): Uint8Array | undefined {
  if (message.length < HEADER) return undefined;
  const question = parseQuestion(message);
  const answer = Uint8Array.from(message.subarray(0, question?.end ?? HEADER));
  const flags = (u16(message, 2) & KEPT_FLAGS) | FLAG_RESPONSE | RCODE_REFUSED;
  answer.set([flags >> 8, flags & 0xff, 0, question === undefined ? 0 : 1, 0, 0, 0, 0, 0, 0], 2);
  return answer;
}
