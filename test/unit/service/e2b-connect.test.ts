// The framing of Connect: whatever bytes come, an envelope is read or refused.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ServiceError, type ServiceErrorCode } from '../../../service/errors.js';
import { endEnvelope, envelope, errorAnswer, openEnvelope, timeoutOf } from '../../../service/http/e2b/connect.js';
import { PROBLEMS } from '../../../service/http/problem.js';
import { Broadcast } from '../../../service/sandboxes/broadcast.js';
import { fuzzing } from '../../fixtures/fuzz.js';

describe('envelopes', () => {
  test('what is put in one comes out', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.string()), (message) => {
        expect(JSON.parse(openEnvelope(envelope(message)))).toEqual(message);
      }),
      fuzzing(500),
    );
  });

  test('any other bytes are refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const isOne = bytes.length >= 5 && bytes[0] === 0 && Buffer.from(bytes).readUInt32BE(1) === bytes.length - 5;
        if (isOne) openEnvelope(Buffer.from(bytes));
        else expect(() => openEnvelope(Buffer.from(bytes))).toThrow(ServiceError);
      }),
      fuzzing(2000),
    );
  });

  test('a cut one, a longer one, a compressed one and an end are refused', () => {
    const whole = envelope({ word: 'x' });
    for (let size = 0; size < whole.length; size++) expect(() => openEnvelope(whole.subarray(0, size))).toThrow();
    expect(() => openEnvelope(Buffer.concat([whole, whole]))).toThrow('its envelope says');
    expect(() => openEnvelope(envelope({}, 1))).toThrow('compression');
    expect(() => openEnvelope(endEnvelope())).toThrow('unknown flags 2');
  });

  test('an end has the error', () => {
    const end = endEnvelope(new ServiceError('not-running', 'it is not running'));
    expect([end[0], end.readUInt32BE(1)]).toEqual([2, end.length - 5]);
    const error = { code: 'unavailable', message: 'it is not running' };
    expect(JSON.parse(end.subarray(5).toString())).toEqual({ error });
  });
});

test('each error of the service has an answer of the protocol', async () => {
  for (const code of Object.keys(PROBLEMS) as ServiceErrorCode[]) {
    const answer = errorAnswer(new ServiceError(code, 'why'));
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(await answer.json()).toEqual({ code: expect.stringMatching(/^[a-z_]+$/), message: 'why' });
  }
});

test('a timeout is a number of at most ten digits', () => {
  expect([timeoutOf(undefined), timeoutOf('0'), timeoutOf('1500')]).toEqual([undefined, undefined, 1500]);
  for (const text of ['', '-1', '1.5', '1e3', '12345678901', ' 1']) {
    expect(() => timeoutOf(text)).toThrow('Connect-Timeout-Ms');
  }
});

describe('a broadcast', () => {
  test('each reader gets all events from its coming on, in order', async () => {
    const broadcast = new Broadcast<{ n: number }>();
    const read = async (reader: AsyncIterable<{ n: number }>) => {
      const numbers: number[] = [];
      for await (const { n } of reader) numbers.push(n);
      return numbers;
    };
    await broadcast.send({ n: 0 });
    const first = read(broadcast.join());
    await broadcast.send({ n: 1 });
    const second = read(broadcast.join());
    for (const n of [2, 3, 4, 5]) await broadcast.send({ n });
    broadcast.end();
    expect([await first, await second]).toEqual([
      [1, 2, 3, 4, 5],
      [2, 3, 4, 5],
    ]);
  });

  test('a reader that takes nothing holds the sender, until it leaves', async () => {
    const broadcast = new Broadcast<{ n: number }>();
    const idle = broadcast.join();
    let sent = 0;
    const sending = (async () => {
      for (let n = 0; n < 100; n++) {
        await broadcast.send({ n });
        sent++;
      }
    })();
    await new Promise((resolve) => setImmediate(resolve));
    const held = sent;
    expect(held).toBeLessThan(10);
    await new Promise((resolve) => setImmediate(resolve));
    expect(sent).toBe(held);
    idle.destroy();
    await sending;
    expect(sent).toBe(100);
  });
});
