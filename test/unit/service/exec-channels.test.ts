// The messages of a command's WebSocket: each is read as it was written, and anything else is refused
// with a problem, whatever the bytes.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ServiceError } from '../../../service/errors.js';
import { CHANNELS, execMessage, parseExec, parseExecMessage } from '../../../service/http/exec-channels.js';
import { fuzzing } from '../../fixtures/fuzz.js';

const message = (channel: number, data: Uint8Array | string) =>
  Buffer.concat([Buffer.of(channel), Buffer.from(data as Uint8Array)]);
const side = fc.integer({ min: 1, max: 65_535 });

test('input is taken byte for byte', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (data) => {
      expect(parseExecMessage(message(CHANNELS.stdin, data))).toEqual({ name: 'stdin', data: Buffer.from(data) });
    }),
    fuzzing(1000),
  );
});

test('sizes are those of Kubernetes', () => {
  fc.assert(
    fc.property(side, side, (Width, Height) => {
      expect(parseExecMessage(message(CHANNELS.resize, JSON.stringify({ Width, Height })))).toEqual({
        name: 'resize',
        size: { columns: Width, rows: Height },
      });
    }),
    fuzzing(1000),
  );
});

test('a signal has a name or a number, and stdin is closed', () => {
  const signal = (of: unknown) => parseExecMessage(message(CHANNELS.signal, JSON.stringify({ signal: of })));
  expect(signal('SIGTERM')).toEqual({ name: 'signal', signal: 'SIGTERM' });
  expect(signal(15)).toEqual({ name: 'signal', signal: 15 });
  expect(parseExecMessage(message(CHANNELS.close, Buffer.of(CHANNELS.stdin)))).toEqual({ name: 'close' });
});

test.each([
  ['nothing', Buffer.alloc(0)],
  ['a channel of the server', message(CHANNELS.stdout, 'x')],
  ['an unknown channel', message(6, 'x')],
  ['a size that is none', message(CHANNELS.resize, '{"Width":0,"Height":1}')],
  ['more than a size', message(CHANNELS.resize, '{"Width":1,"Height":1,"Depth":1}')],
  ['a signal that is none', message(CHANNELS.signal, '{"signal":65}')],
  ['the end of stdout', message(CHANNELS.close, Buffer.of(CHANNELS.stdout))],
  ['the end of nothing', message(CHANNELS.close, '')],
  ['text', 'x'],
])('%s is refused', (_, data) => {
  expect(() => parseExecMessage(data)).toThrow(ServiceError);
});

test('any bytes are a message or a problem', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((text) => Buffer.from(`\x04${text}`)),
      ),
      (bytes) => {
        try {
          parseExecMessage(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(ServiceError);
        }
      },
    ),
    fuzzing(1000),
  );
});

test('the command is the first message, as text', () => {
  expect(parseExec('{"command":["sh"]}')).toEqual({ command: ['sh'], env: {}, stdin: false });
  const terminal = { columns: 80, rows: 24 };
  expect(parseExec(JSON.stringify({ command: ['sh'], stdin: true, terminal }))).toMatchObject({
    stdin: true,
    terminal,
  });
  for (const wrong of [
    Buffer.from('{"command":["sh"]}'),
    '',
    '[]',
    '{}',
    '{"command":[]}',
    '{"command":["sh"],"x":1}',
  ]) {
    expect(() => parseExec(wrong)).toThrow(ServiceError);
  }
  fc.assert(
    fc.property(fc.json(), (text) => {
      try {
        parseExec(text);
      } catch (error) {
        expect(error).toBeInstanceOf(ServiceError);
      }
    }),
    fuzzing(1000),
  );
});

test('a message of the server begins with its channel', () => {
  expect(execMessage('stderr', 'né')).toEqual(Buffer.from('\x02né'));
});
