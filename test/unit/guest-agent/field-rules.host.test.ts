// Proves that the agent refuses every request that breaks a rule of the protocol's table: each rule
// is broken once for each field it applies to.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Fields } from '../../../sandbox/agent/fields.js';
import { FRAMES } from '../../../sandbox/agent/frame-tables.generated.js';
import { ERROR_KINDS } from '../../../sandbox/agent/protocol.js';
import { buildCodec, understand } from './codec-program.js';

type Field = Fields[number];

/** A payload that breaks one rule. */
interface Case {
  what: string;
  payload: Buffer;
  kind: 'bad-request' | 'unsupported';
  message: string;
}

let directory: string;
let codec: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'agent-codec-'));
  codec = buildCodec(directory);
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

function encoded(tag: number, value: Buffer): Buffer {
  const header = Buffer.alloc(6);
  header.writeUInt16LE(tag, 0);
  header.writeUInt32LE(value.length, 2);
  return Buffer.concat([header, value]);
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

/** The smallest valid value. */
function smallest(field: Field): Buffer {
  switch (field.kind) {
    case 'integer':
      return u64(BigInt(field.min ?? 0));
    case 'choice':
      return u64(BigInt(field.first));
    case 'text':
      return Buffer.from('/');
    case 'program':
      return Buffer.alloc(8);
    case 'group':
      return least(field.fields);
    default:
      return u64(0n);
  }
}

/** The payload with only the required fields, and with the values `instead` for the field `but`. */
function least(fields: Fields, but: Field | undefined = undefined, instead: readonly Buffer[] = []): Buffer {
  const others = fields.filter((field) => field.required && field !== but);
  return Buffer.concat([
    ...others.map((field) => encoded(field.tag, smallest(field))),
    ...instead.map((value) => encoded(but?.tag ?? 0, value)),
  ]);
}

/** Invalid values for the kind of the field, with the agent's messages. */
function wrongValues(field: Field): [what: string, value: Buffer, message: string][] {
  const number = (value: number) => u64(BigInt(value));
  const short: [string, Buffer, string] = ['of 7 bytes', Buffer.alloc(7), 'is not an integer of 8 bytes'];
  switch (field.kind) {
    case 'integer': {
      const { min = 0, max } = field;
      const low: [string, Buffer, string][] = min > 0 ? [['too small', number(min - 1), 'is out of range']] : [];
      return [short, ...low, ['too large', number(max + 1), 'is out of range']];
    }
    case 'choice':
      return [short, ['too large', number(field.first + field.names.length), 'is out of range']];
    case 'flag':
      return [short, ['too large', number(2), 'is out of range']];
    case 'limit':
    case 'bits':
      return [short];
    case 'text': {
      const long: [string, Buffer, string][] =
        field.max < 200_000 ? [['too long', Buffer.alloc(field.max + 1, '/'), 'is too long']] : [];
      return [...long, ['with a NUL', Buffer.from('/a\0b'), 'has a NUL byte']];
    }
    case 'program':
      return [0, 12, 4097 * 8].map((length) => [
        `of ${length} bytes`,
        Buffer.alloc(length),
        'is not 1 to 4096 instructions',
      ]);
    case 'group':
      return [];
  }
}

/** All cases for a group, named `where`, and for the groups in it. */
function brokenIn(fields: Fields, where: string): Case[] {
  const whole = least(fields);
  const cases: Case[] = [
    {
      what: `${where}: an unknown field`,
      payload: Buffer.concat([whole, encoded(0x7fff, Buffer.alloc(1))]),
      kind: 'unsupported',
      message: 'field 32767 is unknown',
    },
    {
      what: `${where}: half a header`,
      payload: Buffer.concat([whole, Buffer.alloc(5)]),
      kind: 'bad-request',
      message: 'a field is cut short',
    },
  ];
  for (const field of fields) {
    const of = `${where}.${field.name}`;
    const bad = (what: string, payload: Buffer, message: string): void => {
      cases.push({ what: `${of} ${what}`, payload, kind: 'bad-request', message });
    };
    if (field.required) bad('missing', least(fields, field), `${field.name} is missing`);
    if (!field.repeated) {
      bad('twice', least(fields, field, [smallest(field), smallest(field)]), `${field.name} is given twice`);
    }
    const value = encoded(field.tag, smallest(field));
    value.writeUInt32LE(value.length - 5, 2);
    bad('cut short', Buffer.concat([least(fields, field), value]), `field ${field.tag} is cut short`);
    for (const [what, wrong, message] of wrongValues(field)) {
      bad(what, least(fields, field, [wrong]), `${field.name} ${message}`);
    }
    if (field.kind === 'group') {
      for (const inner of brokenIn(field.fields, of)) {
        cases.push({ ...inner, payload: least(fields, field, [inner.payload]) });
      }
    }
  }
  return cases;
}

function frame(number: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(payload.length, 0);
  header.writeUInt16LE(number, 4);
  return Buffer.concat([header, payload]);
}

const requests = FRAMES.filter(({ from }) => from === 'host');

test.each(requests)(
  'the agent takes the least $type, and refuses it with any rule broken',
  ({ number, type, fields }) => {
    const broken = brokenIn(fields, type);
    const frames = [least(fields), ...broken.map(({ payload }) => payload)].map((payload) => frame(number, payload));
    const [taken, ...refused] = understand(
      codec,
      frames.map((bytes) => ({ bytes, chunk: 65536 })),
    ).map(([answer]) => answer);
    expect(taken).toMatchObject({ type });
    const outcome = broken.map(({ what }, index) => ({ what, ...refused[index] }));
    expect(outcome).toMatchObject(
      broken.map(({ what, kind, message }) => ({
        what,
        type: 'error',
        kind: ERROR_KINDS.indexOf(kind) + 1,
        message: expect.stringContaining(message),
      })),
    );
  },
);

test('the rules give more than two hundred cases', () => {
  expect(requests.flatMap(({ type, fields }) => brokenIn(fields, type)).length).toBeGreaterThan(200);
});
