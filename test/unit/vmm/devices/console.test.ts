// The virtio console: output of the guest, input to the guest, and saved state.
import { describe, expect, test } from 'vitest';
import { VirtioConsole } from '../../../../vmm/devices/console.js';
import { VirtioDriver } from '../../../fixtures/virtio-driver.js';

const RECEIVE = 0;
const TRANSMIT = 1;

function terminal() {
  const seen = { output: '', room: 0 };
  const create = () =>
    new VirtioConsole({
      output: (bytes) => {
        seen.output += Buffer.from(bytes).toString();
      },
      onRoom: () => {
        seen.room++;
      },
    });
  const driver = new VirtioDriver(create(), { memorySize: 4 * 1024 * 1024 }).start();
  return { driver, seen, create, device: () => driver.device as VirtioConsole };
}

describe('console', () => {
  test('output of any length and in any number of buffers arrives complete', () => {
    const { driver, seen } = terminal();
    using _ = driver;
    const text = 'Linux version 6.1\n'.repeat(1000);
    const whole = driver.allocate(text.length);
    driver.bytes(whole).write(text);
    const cut = 7000;
    driver.queueAt(TRANSMIT).add(
      [
        { address: whole.address, length: cut },
        { address: whole.address + cut, length: text.length - cut },
      ],
      [],
    );
    driver.queueAt(TRANSMIT).kick();
    expect(seen.output).toBe(text);
    expect(driver.queueAt(TRANSMIT).takeUsed()?.length).toBe(0);
  });

  test('input is accepted while the guest has room, and a kick reports new room', () => {
    const { driver, seen, device } = terminal();
    using _ = driver;
    const room = driver.allocate(4);
    expect(device().input(Buffer.from('hello'))).toBe(0);
    driver.queueAt(RECEIVE).add([], [room]);
    expect(driver.queueAt(RECEIVE).kick()).toBe(true);
    expect(seen.room).toBe(1);
    expect(device().input(Buffer.from('hello'))).toBe(4);
    expect(driver.queueAt(RECEIVE).takeUsed()?.length).toBe(4);
    expect(driver.bytes(room).toString()).toBe('hell');
    expect(driver.interrupts).toBe(1);
  });

  test('a restored device continues where the saved one stopped', () => {
    const { driver, seen, create, device } = terminal();
    using _ = driver;
    const room = driver.allocate(4);
    driver.queueAt(RECEIVE).add([], [room]);
    driver.replaceDevice(create);
    expect(device().input(Buffer.from('ab'))).toBe(2);
    const word = driver.allocate(2);
    driver.bytes(word).write('ok');
    driver.queueAt(TRANSMIT).add([word], []);
    driver.queueAt(TRANSMIT).kick();
    expect(seen.output).toBe('ok');
  });
});
