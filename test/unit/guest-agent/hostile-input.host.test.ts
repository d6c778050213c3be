// Proves that the agent's parsers survive damaged frames and hostile passwd and group files. They
// run under AddressSanitizer.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ERROR_KINDS, encodeFrame, HostFrameDecoder, MAX_HOST_PAYLOAD } from '../../../sandbox/agent/protocol.js';
import { fuzzing } from '../../fixtures/fuzz.js';
import { damagedPayload, damagedStream, hostFrame } from './arbitrary-frames.js';
import { buildCodec, type FrameCase, findUsers, understand } from './codec-program.js';
import { withDefaults } from './understood.js';

let directory: string;
let codec: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'agent-codec-'));
  codec = buildCodec(directory);
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Many cases for one run of the program, because starting it costs more than parsing. */
function batches<T>(item: fc.Arbitrary<T>): fc.Arbitrary<T[]> {
  return fc.array(item, { minLength: 50, maxLength: 100 });
}

const chunk = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constant(65536));

/** The complete frames of a stream, by their headers alone. */
function headers(bytes: Buffer): { request: number; length: number; payload: Buffer }[] {
  const found = [];
  for (let offset = 0; offset + 8 <= bytes.length; ) {
    const length = bytes.readUInt32LE(offset);
    const end = offset + 8 + length;
    if (length > MAX_HOST_PAYLOAD || end <= bytes.length) {
      found.push({ request: bytes.readUInt16LE(offset + 6), length, payload: bytes.subarray(offset, end) });
    }
    offset = end;
  }
  return found;
}

/** Decodes one frame by the host's decoder. Returns undefined if it is refused. */
function decodeByHost(bytes: Buffer) {
  try {
    return new HostFrameDecoder().push(bytes)[0];
  } catch {
    return undefined;
  }
}

/** As JSON carries it: without prototypes and absent properties. */
function comparable(frame: object): unknown {
  return JSON.parse(JSON.stringify(frame));
}

describe('requests', () => {
  test('arrive as they were sent, whatever they hold and however they are cut', () => {
    fc.assert(
      fc.property(batches(fc.record({ frame: hostFrame, chunk })), (cases) => {
        const understood = understand(
          codec,
          cases.map(({ frame, chunk }) => ({ bytes: encodeFrame(frame), chunk })),
        );
        expect(understood).toEqual(cases.map(({ frame }) => [comparable(withDefaults(frame))]));
      }),
      fuzzing(10),
    );
  });

  test('that are damaged are answered one by one, without a read out of bounds', () => {
    const broken: fc.Arbitrary<FrameCase> = fc.record({
      bytes: fc.oneof(
        damagedStream,
        damagedPayload,
        fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      ),
      chunk,
    });
    fc.assert(
      fc.property(batches(broken), (cases) => {
        const understood = understand(codec, cases);
        expect(understood.length).toBe(cases.length);
        for (const [index, { bytes }] of cases.entries()) {
          const answers = understood[index] ?? [];
          const frames = headers(bytes);
          expect(answers.map(({ request }) => request)).toEqual(frames.map(({ request }) => request));
          for (const answer of answers) {
            if (answer.type === 'error') expect(ERROR_KINDS[answer.kind! - 1]).toBeDefined();
          }
        }
      }),
      fuzzing(20),
    );
  });

  test('mean the same to the agent as to the host, if the host could have sent them', () => {
    fc.assert(
      fc.property(batches(damagedPayload), (frames) => {
        const understood = understand(
          codec,
          frames.map((bytes) => ({ bytes, chunk: 65536 })),
        );
        for (const [index, bytes] of frames.entries()) {
          const [answer] = understood[index] ?? [];
          const decoded = decodeByHost(bytes);
          // Only the agent requires absolute paths.
          if (decoded === undefined || answer?.message?.endsWith('is not an absolute path')) continue;
          expect(answer).toEqual(comparable(withDefaults(decoded)));
        }
      }),
      fuzzing(20),
    );
  });

  test('with fields from a later version are refused or, from tag 32768 on, understood without them', () => {
    const signal = encodeFrame({ type: 'signal', request: 1, process: 1, signal: 2 });
    const withField = (tag: number) => {
      const bytes = Buffer.concat([signal, Buffer.from([tag & 0xff, tag >> 8, 1, 0, 0, 0, 42])]);
      bytes.writeUInt32LE(bytes.length - 8, 0);
      return { bytes, chunk: 100 };
    };
    const [refused, taken] = understand(codec, [withField(0x7fff), withField(0x8000)]).flat();
    expect(refused).toMatchObject({ type: 'error', kind: ERROR_KINDS.indexOf('unsupported') + 1 });
    expect(taken).toEqual(withDefaults({ type: 'signal', request: 1, process: 1, signal: 2 }));
  });

  test('over the limit are skipped, and the next one is read', () => {
    const oversized = Buffer.alloc(8 + MAX_HOST_PAYLOAD + 1);
    oversized.writeUInt32LE(MAX_HOST_PAYLOAD + 1, 0);
    oversized.writeUInt16LE(2, 4);
    oversized.writeUInt16LE(9, 6);
    const bytes = Buffer.concat([oversized, encodeFrame({ type: 'ping', request: 10 })]);
    expect(understand(codec, [{ bytes, chunk: 65536 }])).toMatchObject([
      [
        { type: 'error', request: 9, kind: ERROR_KINDS.indexOf('too-large') + 1 },
        { type: 'ping', request: 10 },
      ],
    ]);
  });

  test('may be as large as the limit', () => {
    const argv = Array.from({ length: 31 }, (_, index) => String(index).padEnd(131_071, 'x'));
    const frame = { type: 'process', request: 1, container: 1, id: 1, argv } as const;
    expect(understand(codec, [{ bytes: encodeFrame(frame), chunk: 65536 }])).toEqual([[withDefaults(frame)]]);
  });
});

describe('passwd and group files', () => {
  const line = fc.oneof(
    fc.constantFrom('root:x:0:0:root:/root:/bin/sh', 'sam:x:7:8::/home/sam:', 'staff:x:50:sam,root', 'video:x:44:sam'),
    fc
      .array(fc.oneof(fc.constantFrom('', 'sam', 'x', '0', '7', '4294967296', '-1', ',,', '\0'), fc.string()), {
        maxLength: 9,
      })
      .map((columns) => columns.join(':')),
  );
  const file = fc.oneof(
    fc.array(line, { maxLength: 12 }).map((lines) => Buffer.from(lines.join('\n'))),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  );
  const spec = fc
    .oneof(fc.constantFrom('', 'sam', 'sam:staff', '7', ':', '7:', ':7', '2147483648'), fc.string())
    .map((string) => string.replaceAll('\0', ''));

  test('of any content give a user in range or an error', () => {
    fc.assert(
      fc.property(batches(fc.record({ passwd: file, group: file, user: spec, more: spec })), (cases) => {
        const found = findUsers(codec, cases);
        expect(found.length).toBe(cases.length);
        for (const user of found) {
          if ('kind' in user) {
            expect(['no-such-user', 'setup-failed']).toContain(ERROR_KINDS[user.kind - 1]);
          } else {
            for (const id of [user.uid, user.gid, ...user.groups]) expect(id).toBeLessThanOrEqual(0x7fff_ffff);
            expect(user.groups[0]).toBe(user.gid);
            expect(new Set(user.groups).size).toBe(user.groups.length);
          }
        }
      }),
      fuzzing(20),
    );
  });

  test('give the first matching entry, and skip lines that are not entries', () => {
    const passwd = Buffer.from('# comment\n\nbroken\nsam:x:notanumber:1\nsam:x:7:8:::\nsam:x:9:9:::\n');
    const group = Buffer.from('a:x:1:sam\nb:x:2:samuel,sam\nc:x:3:samuel\nb:x:4:');
    const find = (user: string, more = '') => findUsers(codec, [{ passwd, group, user, more }])[0];
    expect(find('sam')).toEqual({ uid: 7, gid: 8, groups: [8, 1, 2], home: '/' });
    expect(find('sam:b')).toMatchObject({ gid: 2, groups: [2] });
    expect(find('5', 'c')).toMatchObject({ uid: 5, gid: 0, groups: [0, 3] });
    expect(find('sam', 'nope')).toMatchObject({
      message: 'unable to find group nope: no matching entries in group file',
    });
    expect(find('2147483648')).toMatchObject({ kind: ERROR_KINDS.indexOf('no-such-user') + 1 });
  });
});
