// Published and exposed ports parse into ranges of ports. Any other text is a SandboxError.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SandboxError } from '../../../../sandbox/errors.js';
import {
  eachPort,
  formatPort,
  imagePorts,
  parseExposed,
  parsePublished,
} from '../../../../sandbox/spec/published-ports.js';
import type { PublishedPorts } from '../../../../vmm/machine.js';

const port = () => fc.integer({ min: 1, max: 65535 });
const protocol = () => fc.constantFrom<PublishedPorts['protocol']>('tcp', 'udp');

describe('published ports', () => {
  test.each([
    ['8080:80', { protocol: 'tcp', address: undefined, host: 8080, guest: 80, count: 1 }],
    ['80', { protocol: 'tcp', address: undefined, host: 0, guest: 80, count: 1 }],
    ['80-82/udp', { protocol: 'udp', address: undefined, host: 0, guest: 80, count: 3 }],
    [':80', { protocol: 'tcp', address: undefined, host: 0, guest: 80, count: 1 }],
    ['::80', { protocol: 'tcp', address: undefined, host: 0, guest: 80, count: 1 }],
    ['127.0.0.1::80', { protocol: 'tcp', address: '127.0.0.1', host: 0, guest: 80, count: 1 }],
    ['[::1]::80', { protocol: 'tcp', address: '::1', host: 0, guest: 80, count: 1 }],
    ['8000-8010:80', { protocol: 'tcp', address: undefined, host: 8000, last: 8010, guest: 80, count: 1 }],
    ['127.0.0.1:53:5353/udp', { protocol: 'udp', address: '127.0.0.1', host: 53, guest: 5353, count: 1 }],
    ['[::1]:8000-8002:80-82/TCP', { protocol: 'tcp', address: '::1', host: 8000, guest: 80, count: 3 }],
  ])('of %s', (text, expected) => {
    expect(parsePublished(text)).toEqual(expected);
  });

  test.each([
    ...['', ':', '80:', '80:80:80', 'localhost:80:80', '0:80', '0', '80:70000', '80-82:80-81', '80:80/sctp', '80/'],
    ...[
      '::1:80:80',
      '1-2000:1-2000',
      '1-2000',
      '80:80/',
      '1.2.3.4.5:80:80',
      '[fe80::1%lo]:80:80',
      '80:80/tcp/udp',
      '[]::',
    ],
  ])('of %j are refused in one line', (text) => {
    expect(() => parsePublished(text)).toThrow(SandboxError);
    expect(() => parsePublished(text)).toThrow(/^invalid published port [^\n]*$/);
  });

  test('parse from any text to valid ports or a SandboxError', () => {
    const words = fc.constantFrom(
      ':',
      '-',
      '/',
      '[',
      ']',
      '80',
      '65535',
      '::1',
      '127.0.0.1',
      'udp',
      'x',
      '0',
      '\n',
      '%',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(words, { maxLength: 9 }).map((all) => all.join('')),
        ),
        (text) => {
          try {
            const { host, last, guest, count } = parsePublished(text);
            expect(guest).toBeGreaterThan(0);
            expect(guest + count - 1).toBeLessThanOrEqual(65535);
            expect(host === 0 || host + count - 1 <= 65535).toBe(true);
            expect(last === undefined || (last > host && last <= 65535 && count === 1)).toBe(true);
          } catch (error) {
            expect(error).toBeInstanceOf(SandboxError);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });

  test('format back to their text', () => {
    const address = fc.option(fc.oneof(fc.ipV4(), fc.ipV6()), { nil: undefined });
    fc.assert(
      fc.property(address, fc.option(port(), { nil: 0 }), port(), protocol(), (address, host, guest, protocol) => {
        const where = address === undefined ? '' : `${address.includes(':') ? `[${address}]` : address}:`;
        const text = `${where}${host || ''}:${guest}/${protocol}`;
        expect(parsePublished(text)).toEqual({ protocol, address, host, guest, count: 1 });
      }),
    );
  });
});

describe('exposed ports', () => {
  test('are ports and ranges, of TCP or UDP', () => {
    expect(parseExposed('80')).toEqual([{ protocol: 'tcp', port: 80 }]);
    expect(parseExposed('53-54/udp').map(formatPort)).toEqual(['53/udp', '54/udp']);
  });

  test.each(['', '0', '65536', '80/sctp', '80/tcp/udp', '2-1', 'http', '1-2000', '80/'])('%j is refused', (text) => {
    expect(() => parseExposed(text)).toThrow(/^invalid port [^\n]*$/);
  });

  test('of an image leave out invalid entries, and are limited in number', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.string(), port().map(String))), (words) => {
        expect(imagePorts(words).every((each) => each.port > 0 && each.port <= 65535)).toBe(true);
      }),
    );
    expect(imagePorts(['80/tcp', 'x', '443'])).toHaveLength(2);
    expect(imagePorts(Array(100).fill('1-1000'))).toHaveLength(1000);
  });
});

test("bound ports are listed one by one, in the order of the container's ports", () => {
  const bound: PublishedPorts[] = [
    { protocol: 'udp', address: '0.0.0.0', host: 5353, guest: 53, count: 1 },
    { protocol: 'tcp', address: '::', host: 8080, guest: 80, count: 2 },
    { protocol: 'tcp', address: '0.0.0.0', host: 8080, guest: 80, count: 2 },
  ];
  expect(eachPort(bound).map((each) => `${formatPort(each)} ${each.address} ${each.hostPort}`)).toEqual([
    ...['53/udp 0.0.0.0 5353', '80/tcp 0.0.0.0 8080', '80/tcp :: 8080', '81/tcp 0.0.0.0 8081', '81/tcp :: 8081'],
  ]);
});
