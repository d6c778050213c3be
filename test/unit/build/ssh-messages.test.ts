// Messages of the agent protocol of SSH: whatever pieces they come in, and whatever a RUN sends in
// their place.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  answerOf,
  FAILURE,
  framed,
  IDENTITIES_ANSWER,
  MAX_MESSAGE,
  MessageError,
  MessageReader,
  REQUEST_IDENTITIES,
  SIGN_REQUEST,
  SIGN_RESPONSE,
} from '../../../build/ssh/messages.js';

/** Cuts bytes at some places. */
function pieces(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end));
}

const string = (bytes: Uint8Array) => framed(bytes);

test('come out as they went in, however they are cut', () => {
  const message = fc.uint8Array({ minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 20 }), fc.array(fc.nat(10_000), { maxLength: 30 }), (messages, cuts) => {
      const reader = new MessageReader();
      const read = pieces(Buffer.concat(messages.map(framed)), cuts).flatMap((piece) => [...reader.push(piece)]);
      expect(read.map((each) => each.toString('hex'))).toEqual(
        messages.map((each) => Buffer.from(each).toString('hex')),
      );
    }),
  );
});

test('of any bytes are bounded, and end or are refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), fc.array(fc.nat(2000), { maxLength: 10 }), (bytes, cuts) => {
      const reader = new MessageReader();
      try {
        for (const piece of pieces(Buffer.from(bytes), cuts)) {
          for (const message of reader.push(piece)) {
            expect(message.length).toBeGreaterThan(0);
            expect(message.length).toBeLessThanOrEqual(MAX_MESSAGE);
          }
        }
      } catch (error) {
        expect(error).toBeInstanceOf(MessageError);
      }
    }),
  );
});

test('may have 256 KiB, and no byte more', () => {
  const largest = Buffer.alloc(MAX_MESSAGE, 1);
  expect([...new MessageReader().push(framed(largest))].map((each) => each.equals(largest))).toEqual([true]);
  for (const length of [0, MAX_MESSAGE + 1, 0xffffffff]) {
    const header = Buffer.alloc(4);
    header.writeUInt32BE(length);
    expect(() => [...new MessageReader().push(header)]).toThrow(MessageError);
  }
});

test('pass if they list the keys, or sign with one', () => {
  expect(answerOf(Buffer.of(REQUEST_IDENTITIES))).toBe(IDENTITIES_ANSWER);
  expect(answerOf(Buffer.of(REQUEST_IDENTITIES, 0))).toBeUndefined();
  const bytes = fc.uint8Array({ maxLength: 100 });
  fc.assert(
    fc.property(bytes, bytes, fc.uint8Array({ minLength: 4, maxLength: 4 }), bytes, (key, data, flags, rest) => {
      const request = Buffer.concat([Buffer.of(SIGN_REQUEST), string(key), string(data), flags]);
      expect(answerOf(request)).toBe(SIGN_RESPONSE);
      for (let length = 1; length < request.length; length++) {
        expect(answerOf(request.subarray(0, length))).toBeUndefined();
      }
      if (rest.length > 0) expect(answerOf(Buffer.concat([request, rest]))).toBeUndefined();
    }),
  );
});

test('of all other types are refused, whatever they hold', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 100 }), (type, body) => {
      const answer = answerOf(Buffer.of(type, ...body));
      if (type !== REQUEST_IDENTITIES && type !== SIGN_REQUEST) expect(answer).toBeUndefined();
      expect(answer).not.toBe(FAILURE);
    }),
  );
});
