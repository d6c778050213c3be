// The states of a machine, and the error of a call that a state forbids.
import { expect, test } from 'vitest';
import { Lifecycle } from '../../../../vmm/accel/machine.js';
import { MachineError } from '../../../../vmm/machine.js';

test('a machine begins as built', () => {
  expect(new Lifecycle().state).toEqual({ name: 'built' });
});

test('a call that the state allows gets the state', () => {
  const lifecycle = new Lifecycle();
  lifecycle.become({ name: 'paused', startTime: 5 });
  expect(lifecycle.require('resume', 'paused').startTime).toBe(5);
  expect(lifecycle.require('stop', 'running', 'paused').startTime).toBe(5);
});

test('a call that the state forbids is a typed error, which names the call and both states', () => {
  const lifecycle = new Lifecycle();
  lifecycle.become({ name: 'stopped' });
  expect(() => lifecycle.require('pause', 'running')).toThrow(
    expect.objectContaining({
      code: 'bad-state',
      message: 'cannot pause the machine: it is stopped, not running',
    }),
  );
});

test('the error of a call to a crashed machine gives the reason of the crash', () => {
  const lifecycle = new Lifecycle();
  lifecycle.become({ name: 'crashed', error: new MachineError('guest-crash', 'triple fault') });
  expect(() => lifecycle.require('save', 'paused')).toThrow(
    'cannot save the machine: it has crashed (triple fault), not paused',
  );
});
