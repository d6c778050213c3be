// The log of the machine process has pino's form, and needs no file: the process may open none.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as libc from '../../../../vmm/host/libc.js';
import { createLogger, type LogLevel } from '../../../../vmm/host/log.js';

/** The records that `write` makes. */
function records(level: LogLevel, write: (log: ReturnType<typeof createLogger>) => void): unknown[] {
  const [end, start] = libc.createPipe();
  write(createLogger(level, start));
  libc.close(start);
  const text = readFileSync(end, 'utf8');
  libc.close(end);
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

const all = (log: ReturnType<typeof createLogger>) => {
  log.debug({}, 'one');
  log.info({}, 'two');
  log.warn({ device: 'blk' }, 'three');
  log.error({}, 'four\nlines');
};

test.each([
  ['trace', ['one', 'two', 'three', 'four\nlines']],
  ['debug', ['one', 'two', 'three', 'four\nlines']],
  ['info', ['two', 'three', 'four\nlines']],
  ['warn', ['three', 'four\nlines']],
  ['error', ['four\nlines']],
  ['silent', []],
] as const)('at level %s', (level, messages) => {
  expect(records(level, all).map((record) => (record as { msg: string }).msg)).toEqual(messages);
});

test('a record has fields, time and level, and an error its cause', () => {
  const err = new RangeError('too far', { cause: new Error('why') });
  const [record] = records('warn', (log) => log.warn({ device: 'net', err }, 'broken'));
  expect(record).toEqual({
    level: 40,
    time: expect.any(Number),
    pid: process.pid,
    hostname: expect.any(String),
    name: 'tsvm-machine',
    device: 'net',
    err: {
      ...{ type: 'RangeError', message: 'too far', stack: expect.stringContaining('RangeError: too far') },
      cause: { type: 'Error', message: 'why', stack: expect.any(String) },
    },
    msg: 'broken',
  });
});
