// DNS messages: the queries and answers that the policy accepts, and those that the device makes.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { answerQuery, parseAnswer, parseQuery, refuseQuery } from '../../../../../vmm/devices/net/dns.js';
import { answer, query } from '../../../../fixtures/frames.js';

const QUESTION = parseQuery(query('example.com'))!;
const texts = (message: Buffer) => parseAnswer(message, QUESTION).map(({ bytes }) => bytes.join('.'));

describe('a query', () => {
  test('has one question, and options that may hold a cookie', () => {
    expect(QUESTION).toEqual({ id: 7, name: 'example.com', type: 1, end: 29 });
    const options = Buffer.from([0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    const message = Buffer.concat([query('example.com'), options]);
    message[11] = 1;
    expect(parseQuery(message)?.name).toBe('example.com');
  });

  test('has nothing else', () => {
    const change = (at: number, value: number) => {
      const message = query('example.com');
      message[at] = value;
      return message;
    };
    const large = Buffer.concat([
      query('example.com'),
      Buffer.from([0, 0, 41, 0, 0, 0, 0, 0, 0, 1, 0]),
      Buffer.alloc(256),
    ]);
    large[11] = 1;
    const cases: [string, Buffer][] = [
      ['an answer', change(2, 0x81)],
      ['another operation', change(2, 0x29)],
      ['two questions', change(5, 2)],
      ['no question', change(5, 0)],
      ['with answers', change(7, 1)],
      ['with authorities', change(9, 1)],
      ['another class', change(28, 3)],
      ['a name that never ends', change(12, 0xc0)],
      ['a label that is too long', change(12, 64)],
      ['a label of other bytes', change(13, 0)],
      ['cut short', query('example.com').subarray(0, 20)],
      ['bytes after the question', Buffer.concat([query('example.com'), Buffer.from('x')])],
      ['options that may hold a message', large],
    ];
    for (const [why, message] of cases) expect(parseQuery(message), why).toBeUndefined();
  });
});

describe('an answer', () => {
  test('has the addresses of the name and of the names that it is an alias of', () => {
    const message = answer('example.com', [
      { alias: 'a.example.net' },
      { owner: 'a.example.net', alias: 'b.example.net' },
      { owner: 'b.example.net', address: '192.0.2.1' },
      { owner: 'c.example.net', address: '192.0.2.2' },
    ]);
    expect(texts(message)).toEqual(['192.0.2.1']);
  });

  test('that is refused, cut short or has a loop has no addresses', () => {
    const sound = answer('example.com', [{ address: '192.0.2.1' }]);
    const change = (at: number, value: number) => {
      const message = Buffer.from(sound);
      message[at] = value;
      return message;
    };
    // Some of these make the owner's pointer lead to itself or forward.
    for (const message of [
      change(3, 0x83),
      change(2, 0x83),
      change(30, 29),
      change(30, 31),
      change(29, 0xff),
      change(40, 9),
    ]) {
      expect(texts(message)).toEqual([]);
    }
    for (let length = 0; length < sound.length; length++) expect(texts(sound.subarray(0, length))).toEqual([]);
  });

  test('of random bytes is parsed without harm', () => {
    const sound = answer('example.com', [{ alias: 'example.net' }, { owner: 'example.net', address: '192.0.2.1' }]);
    const damaged = fc
      .array(fc.tuple(fc.nat(sound.length - 1), fc.nat(255)), { maxLength: 6 })
      .map((edits) => edits.reduce((message, [at, byte]) => message.fill(byte, at, at + 1), Buffer.from(sound)));
    fc.assert(
      fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 300 })), (message) => {
        for (const { bytes } of parseAnswer(message, QUESTION)) expect([4, 16]).toContain(bytes.length);
        parseQuery(message);
        expect(refuseQuery(message)?.length ?? 0).toBeLessThanOrEqual(message.length);
      }),
      { numRuns: 2000 },
    );
  });
});

test('answerQuery makes a valid answer with the addresses of the requested type', () => {
  const addresses = [Uint8Array.of(198, 19, 1, 2), new Uint8Array(16).fill(7)];
  for (const [type, length] of [
    [1, 4],
    [28, 16],
  ]) {
    const message = query('web', 9, type);
    const question = parseQuery(message)!;
    const own = parseAnswer(answerQuery(message, question, addresses), question);
    expect(own.map(({ bytes }) => bytes.length)).toEqual([length]);
  }
  const text = query('web', 9, 16);
  expect(parseAnswer(answerQuery(text, parseQuery(text)!, addresses), parseQuery(text)!)).toEqual([]);
});
