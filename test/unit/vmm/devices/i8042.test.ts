// The keyboard controller: the reset command, and the replies to a driver's probe.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { I8042 } from '../../../../vmm/devices/i8042.js';

const [DATA, COMMAND] = [0x60, 0x64];

test('only command 0xfe resets the machine', () => {
  let resets = 0;
  const i8042 = new I8042(() => resets++);
  for (let command = 0; command < 0xfe; command++) i8042.out(COMMAND, command);
  for (let value = 0; value <= 0xff; value++) i8042.out(DATA, value);
  expect(resets).toBe(0);
  i8042.out(COMMAND, 0xfe);
  expect(resets).toBe(1);
});

test('the controller is always ready for a command, and empty after a driver drains it', () => {
  const i8042 = new I8042(() => {});
  expect(i8042.in(COMMAND) & 0x03).toBe(0);
  i8042.out(COMMAND, 0xaa);
  expect(i8042.in(COMMAND) & 0x03).toBe(1);
  expect(i8042.in(DATA)).toBe(0x55);
  expect(i8042.in(COMMAND) & 0x03).toBe(0);
});

test('the configuration byte reads back as written', () => {
  const i8042 = new I8042(() => {});
  i8042.out(COMMAND, 0x60);
  i8042.out(DATA, 0x47);
  i8042.out(DATA, 0x11);
  i8042.out(COMMAND, 0x20);
  expect(i8042.in(DATA)).toBe(0x47);
});

test('the test of the keyboard interface fails: there is no keyboard', () => {
  const i8042 = new I8042(() => {});
  i8042.out(COMMAND, 0xab);
  expect(i8042.in(DATA)).not.toBe(0);
});

test('a restored controller behaves like the saved one', () => {
  const port = fc.constantFrom(DATA, COMMAND);
  const command = fc.oneof(fc.constantFrom(0x20, 0x60, 0xaa, 0xab), fc.nat(0xfd));
  const steps = fc.array(fc.record({ port, value: fc.option(command) }));
  const perform = (i8042: I8042, { port, value }: { port: number; value: number | null }) =>
    value === null ? i8042.in(port) : i8042.out(port, value);
  fc.assert(
    fc.property(steps, steps, (before, after) => {
      const first = new I8042(() => {});
      for (const step of before) perform(first, step);
      const second = new I8042(() => {});
      second.restore(JSON.parse(JSON.stringify(first.save())));
      for (const step of after) expect(perform(second, step)).toBe(perform(first, step));
      expect(second.save()).toEqual(first.save());
    }),
  );
});
