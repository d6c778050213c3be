// What a machine process may say: events of known types and bounded sizes, each text in one line, and
// no more of them than our own machine process sends.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MachineEvents } from '../../../../sandbox/machine/machine-events.js';
import type { MachineEvent } from '../../../../vmm/machine.js';

const line = (value: unknown) => Buffer.from(`${JSON.stringify(value)}\n`);
const read = (value: unknown) => [...new MachineEvents().read(line(value))];

const TIMES = { processStarted: 1.5, specReceived: 2, vcpusStarted: 3 };
const COUNTED = { exits: { io: 1, '42': 2 }, ioctls: {}, refused: { closed: 3 }, memory: { resident: 4096 } };
const EVENTS: MachineEvent[] = [
  { type: 'kvm', result: { usable: false, code: 'kvm-unusable', reason: 'no' } },
  { type: 'probed', result: { usable: true, reason: 'yes' } },
  { type: 'booted', accel: 'tcg', reason: 'no KVM', times: TIMES },
  { type: 'booted', accel: 'kvm', times: TIMES },
  { type: 'statistics', statistics: COUNTED },
  { type: 'network' },
  { type: 'arrivals', published: 3 },
  { type: 'refused', refusal: { reason: 'closed', what: 'tcp', destination: '10.0.0.1:80' } },
  { type: 'refused', refusal: { reason: 'malformed', what: 'a fragment' } },
  {
    type: 'connect',
    asked: [
      [1, 'tcp', 40000, 443, 0, 0, 0xffff, 0x01010101],
      [2, 'udp', 40000, 53, 0, 0, 0xffff, 0x01010101],
      [2 ** 32 - 1, 'ping', 0, 0, 0x26064700, 0, 0, 1],
      [3, 'vsock', 2 ** 32 - 1],
    ],
  },
  { type: 'joined' },
  { type: 'joined', error: 'in use' },
  { type: 'shared', first: 3 },
  { type: 'shared', error: 'neither a folder nor a file' },
  { type: 'saved' },
  { type: 'saved', error: 'pwritev: EIO', isDiskFull: false },
  { type: 'saved', error: 'pwritev: ENOSPC', isDiskFull: true },
  { type: 'stopped', reason: 'reset', statistics: { exits: {}, ioctls: {} }, console: 'one\r\ntwo' },
  { type: 'failed', code: 'host', message: 'no memory', console: '' },
];

test.each(EVENTS)('%j is read as it was said', (event) => {
  expect(read(event)).toEqual([event]);
});

test('fields that an event does not have are left out, and the owner alone names the ports', () => {
  const ports = [{ protocol: 'tcp', host: 22, guest: 22, count: 1 }];
  expect(read({ type: 'network', ports, more: 1 })).toEqual([{ type: 'network' }]);
});

test.each([
  ['no object', null],
  ['a list', [{ type: 'joined' }]],
  ['a text', 'joined'],
  ['no type', {}],
  ['a type of its own', { type: 'connect-me' }],
  ['a type that every object has', { type: 'constructor' }],
  ['no accelerator', { type: 'booted', times: TIMES }],
  ['an accelerator of its own', { type: 'booted', accel: 'none', times: TIMES }],
  ['no times', { type: 'booted', accel: 'kvm' }],
  ['a time that is text', { type: 'booted', accel: 'kvm', times: { ...TIMES, vcpusStarted: '3' } }],
  ['a reason that is no text', { type: 'booted', accel: 'kvm', reason: {}, times: TIMES }],
  ['arrivals of nothing', { type: 'arrivals' }],
  ['arrivals of less', { type: 'arrivals', published: -1 }],
  ['a refusal of nothing', { type: 'refused' }],
  ['a refusal for a reason of its own', { type: 'refused', refusal: { reason: '__proto__', what: 'tcp' } }],
  ['a negative count', { type: 'statistics', statistics: { exits: { io: -1 }, ioctls: {} } }],
  ['a count that is text', { type: 'statistics', statistics: { exits: { io: '1' }, ioctls: {} } }],
  ['counts that are a list', { type: 'statistics', statistics: { exits: [], ioctls: {} } }],
  ['an unknown code', { type: 'failed', code: 'toString', message: 'x' }],
  ['no connection', { type: 'connect', asked: [] }],
  ['connections that are no list', { type: 'connect', asked: { length: 1 } }],
  ['too many connections', { type: 'connect', asked: Array(65).fill([1, 'tcp', 40000, 80, 0, 0, 0xffff, 1]) }],
  ['a connection of no address', { type: 'connect', asked: [[1, 'tcp', 40000, 80]] }],
  ['a connection of too many words', { type: 'connect', asked: [[1, 'tcp', 40000, 80, 0, 0, 0xffff, 1, 1]] }],
  ['a connection to a text', { type: 'connect', asked: [[1, 'tcp', 40000, 80, 0, 0, 0xffff, '1']] }],
  ['a connection to no word', { type: 'connect', asked: [[1, 'tcp', 40000, 80, 0, 0, 0xffff, 2 ** 32]] }],
  ['a connection to a negative word', { type: 'connect', asked: [[1, 'tcp', 40000, 80, -1, 0, 0xffff, 1]] }],
  ['a host port of no number', { type: 'connect', asked: [[1, 'vsock', '7']] }],
  ['a host port out of range', { type: 'connect', asked: [[1, 'vsock', 2 ** 32]] }],
  ['a host port with an address', { type: 'connect', asked: [[1, 'vsock', 7, 80, 0, 0, 0xffff, 1]] }],
  ['a connection to half a port', { type: 'connect', asked: [[1, 'tcp', 40000, 80.5, 0, 0, 0xffff, 1]] }],
  ['a connection to no port', { type: 'connect', asked: [[1, 'tcp', 40000, 65536, 0, 0, 0xffff, 1]] }],
  ['a connection of no protocol', { type: 'connect', asked: [[1, 'sctp', 40000, 80, 0, 0, 0xffff, 1]] }],
  ['a connection from no port', { type: 'connect', asked: [[1, 'udp', -1, 80, 0, 0, 0xffff, 1]] }],
  ['a connection of no number', { type: 'connect', asked: [[2 ** 32, 'tcp', 40000, 80, 0, 0, 0xffff, 1]] }],
  ['a probe of nothing', { type: 'kvm', result: { usable: 'yes', reason: 'x' } }],
])('%s is refused', (_, value) => {
  expect(() => read(value)).toThrow(RangeError);
});

test('a table of too many names is refused', () => {
  const exits = Object.fromEntries(Array.from({ length: 129 }, (_, index) => [`exit-${index}`, 1]));
  expect(() => read({ type: 'statistics', statistics: { exits, ioctls: {} } })).toThrow(/more than 128 names/);
});

test('each text is one line without what controls a terminal, and is cut', () => {
  const hostile = `one\ntwo\u001b]0;mine\u0007${'x'.repeat(100_000)}`;
  const [failed] = read({ type: 'failed', code: 'host', message: hostile, console: hostile });
  if (failed?.type !== 'failed') throw new Error('not read');
  expect(failed.message).toMatch(/^one two ]0;mine x+$/);
  expect(failed.message.length).toBeLessThanOrEqual(8192);
  expect(failed.console).toBe('x'.repeat(16384));
  const [refused] = read({ type: 'refused', refusal: { reason: 'closed', what: hostile, destination: hostile } });
  if (refused?.type !== 'refused') throw new Error('not read');
  expect(refused.refusal.what).toMatch(/^one two ]0;mine x+$/);
  expect(refused.refusal.destination?.length).toBeLessThanOrEqual(128);
});

test('the longest line that a machine process writes is read', () => {
  const console = '\u0001'.repeat(16 * 1024);
  expect(read({ type: 'failed', code: 'host', message: '\u0001'.repeat(4096), console })).toHaveLength(1);
  expect(() => read({ type: 'failed', code: 'host', message: 'x'.repeat(300_000) })).toThrow(/a line of more than/);
});

test('what is said once is refused the second time', () => {
  const booted = { type: 'booted', accel: 'kvm', times: TIMES };
  const events = new MachineEvents();
  expect([...events.read(line(booted))]).toHaveLength(1);
  expect(() => [...events.read(line(booted))]).toThrow('too many events: booted');
});

test('refusals are bounded for the whole life', () => {
  const events = new MachineEvents();
  const say = (event: object, now: number) => [...events.read(line(event), now)];
  const refused = { type: 'refused', refusal: { reason: 'closed', what: 'tcp' } };
  for (let count = 0; count < 256; count++) say(refused, count * 1e6);
  expect(() => say(refused, 1e12)).toThrow('too many events: refused');
});

test('whatever a machine process says is an event or refused', () => {
  const type = fc.constantFrom(...EVENTS.map((event) => event.type), 'x');
  const names = [
    'result',
    'accel',
    'reason',
    'times',
    'statistics',
    'up',
    'refusal',
    'error',
    'code',
    'message',
    'asked',
  ];
  const others = fc.dictionary(fc.constantFrom(...names, 'console', '__proto__'), fc.jsonValue());
  const given = fc.oneof(fc.constantFrom(...EVENTS), fc.jsonValue());
  fc.assert(
    fc.property(type, others, given, (word, fields, event) => {
      for (const value of [{ ...fields, type: word }, { ...(event as object), ...fields }, event]) {
        try {
          for (const one of read(value)) expect(EVENTS.map((known) => known.type)).toContain(one.type);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }
    }),
  );
});
