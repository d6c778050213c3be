// The names of functions that the tracer gives: each once, none of an interrupt, and none at all if
// some may be missing.
import { expect, test } from 'vitest';
import { parseReached } from '../../../compare/surface/reached.js';

test('each name is kept once, and those of interrupts are left out', () => {
  const names = ['vfs_read', 'sysvec_apic_timer_interrupt', 'ksys_read', 'irq_enter_rcu', 'vfs_read', 'irqfd_wakeup'];
  expect(parseReached(`ready\nlost 0\n${names.join('\n')}\n`)).toEqual(['irqfd_wakeup', 'ksys_read', 'vfs_read']);
});

test('functions of a tracing that has lost entries are not counted', () => {
  expect(() => parseReached('ready\nlost 3\nvfs_read\n')).toThrow('the function tracer has lost 3');
  expect(() => parseReached('ready\nlost 0\n')).toThrow('the function tracer has seen no function');
  expect(() => parseReached('')).toThrow('the function tracer has said nothing');
});
