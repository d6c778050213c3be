// The 16550A serial port: sending, receiving, interrupts, and the probe of Linux's driver.
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { Serial } from '../../../../vmm/devices/serial.js';

// Register offsets and bits from the PC16550D's data sheet.
const [DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 3, 4, 5, 6, 7];
const FCR = IIR;
const OUT2 = 8;
const LOOP = 0x10;

let sent: number[];
let levels: boolean[];
let serial: Serial;

function makeSerial(): Serial {
  return new Serial({ write: (byte) => sent.push(byte), setInterrupt: (level) => levels.push(level) });
}

beforeEach(() => {
  sent = [];
  levels = [];
  serial = makeSerial();
});

describe('sending', () => {
  test('happens at once, and the transmitter is always empty', () => {
    for (const byte of Buffer.from('hello')) {
      expect(serial.in(LSR) & 0x60).toBe(0x60);
      serial.out(DATA, byte);
    }
    expect(Buffer.from(sent).toString()).toBe('hello');
    expect(levels).toEqual([]);
  });

  test('interrupts when the transmitter is empty, until IIR is read', () => {
    serial.out(MCR, OUT2);
    serial.out(IER, 2);
    expect(levels).toEqual([true]);
    expect(serial.in(IIR) & 0xf).toBe(2);
    expect(serial.in(IIR) & 0xf).toBe(1);
    serial.out(DATA, 65);
    expect(serial.in(IIR) & 0xf).toBe(2);
    serial.out(DATA, 66);
    serial.out(IER, 0);
    expect(serial.in(IIR) & 0xf).toBe(1);
    expect(levels).toEqual([true, false, true, false, true, false]);
  });

  test('does not interrupt while OUT2 is off', () => {
    serial.out(MCR, 0);
    serial.out(IER, 2);
    expect(levels).toEqual([]);
    serial.out(MCR, OUT2);
    expect(levels).toEqual([true]);
  });
});

describe('receiving', () => {
  test('accepts as many bytes as the FIFO holds', () => {
    expect(serial.receive(Buffer.alloc(20, 'x'))).toBe(16);
    expect(serial.receive(Buffer.from('y'))).toBe(0);
    for (let count = 0; count < 16; count++) {
      expect(serial.in(LSR) & 1).toBe(1);
      expect(serial.in(DATA)).toBe(0x78);
    }
    expect(serial.in(LSR) & 1).toBe(0);
  });

  test('interrupts until all bytes are read, with priority over the empty transmitter', () => {
    serial.out(IER, 3);
    serial.in(IIR);
    levels = [];
    serial.receive(Buffer.from('ab'));
    expect(serial.in(IIR) & 0xf).toBe(4);
    serial.in(DATA);
    expect(levels).toEqual([true]);
    serial.in(DATA);
    expect(levels).toEqual([true, false]);
  });

  test('discards the bytes when the guest clears the FIFO', () => {
    serial.receive(Buffer.from('ab'));
    serial.out(FCR, 3);
    expect(serial.in(LSR) & 1).toBe(0);
  });
});

describe("the probe of Linux's 8250 driver finds a 16550A", () => {
  test('the interrupt enable register has four bits', () => {
    serial.out(IER, 0);
    expect(serial.in(IER)).toBe(0);
    serial.out(IER, 0x0f);
    expect(serial.in(IER)).toBe(0x0f);
    serial.out(IER, 0xff);
    expect(serial.in(IER)).toBe(0x0f);
  });

  test('in loopback mode, the modem outputs are the modem inputs', () => {
    serial.out(MCR, LOOP | 0x0a);
    expect(serial.in(MSR) & 0xf0).toBe(0x90);
    serial.out(MCR, LOOP | 0x05);
    expect(serial.in(MSR) & 0xf0).toBe(0x60);
    serial.out(MCR, OUT2);
    expect(serial.in(MSR) & 0xf0).toBe(0xb0);
  });

  test('in loopback mode, sent bytes are received and none leaves the port', () => {
    serial.out(MCR, LOOP);
    serial.out(DATA, 0x5a);
    expect(serial.receive(Buffer.from('x'))).toBe(0);
    expect(serial.in(DATA)).toBe(0x5a);
    expect(sent).toEqual([]);
  });

  test('IIR shows a FIFO that is not that of a 16650 or 16750', () => {
    serial.out(FCR, 0);
    expect(serial.in(IIR) >> 6).toBe(0);
    serial.out(FCR, 1);
    expect(serial.in(IIR) >> 6).toBe(3);
    serial.out(LCR, 0x80);
    serial.out(FCR, 0x21);
    expect(serial.in(IIR) & 0x20).toBe(0);
  });

  test('the divisor latch and the scratch register read back as written', () => {
    serial.out(LCR, 0x83);
    serial.out(DATA, 0x34);
    serial.out(IER, 0x12);
    expect([serial.in(DATA), serial.in(IER), serial.in(LCR)]).toEqual([0x34, 0x12, 0x83]);
    serial.out(LCR, 0x03);
    expect([serial.in(DATA), serial.in(IER)]).toEqual([0, 0]);
    serial.out(SCR, 0xa5);
    expect(serial.in(SCR)).toBe(0xa5);
    expect(sent).toEqual([]);
  });
});

/** A guest's access to the port, or bytes that arrive on the line. */
const access = fc.oneof(
  fc.record({ in: fc.nat(7) }),
  fc.record({ out: fc.nat(7), value: fc.nat(255) }),
  fc.record({ receive: fc.uint8Array({ maxLength: 20 }) }),
);
type Access = { in: number } | { out: number; value: number } | { receive: Uint8Array };

function perform(port: Serial, step: Access): number {
  if ('in' in step) return port.in(step.in);
  if ('out' in step) port.out(step.out, step.value);
  else return port.receive(step.receive);
  return 0;
}

test('after any accesses, every read returns a byte', () => {
  fc.assert(
    fc.property(fc.array(access), (steps) => {
      const port = makeSerial();
      for (const step of steps) {
        const value = perform(port, step);
        expect(value).toBe(value & 0xff);
      }
    }),
  );
});

test('a restored port behaves like the saved one', () => {
  fc.assert(
    fc.property(fc.array(access), fc.array(access), (before, after) => {
      const first = makeSerial();
      for (const step of before) perform(first, step);
      const second = makeSerial();
      second.restore(JSON.parse(JSON.stringify(first.save())));
      for (const step of after) expect(perform(second, step)).toBe(perform(first, step));
      expect(second.save()).toEqual(first.save());
    }),
  );
});
