// Warnings about the host appear once per boot.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { CliLog, Level } from '../../../../cli/output/log.js';
import { warnOfEmulatedCpus, warnOfFallback } from '../../../../cli/output/warnings.js';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'tsvm-home-'));
});
afterEach(() => rmSync(home, { recursive: true }));

function told(reason: string, level: Level = 'warn', folder = home, accel: 'tcg' | 'uml' = 'tcg'): string[] {
  const messages: string[] = [];
  const log: CliLog = { level, debug() {}, info() {}, error() {}, warn: (message) => messages.push(message) };
  warnOfFallback({ accel, reason }, log, folder);
  return messages;
}

test('the reason for emulation is reported once, and again if it changes', () => {
  expect(told('no KVM')).toEqual([expect.stringMatching(/^no KVM: QEMU emulates the CPU/)]);
  expect(told('no KVM')).toEqual([]);
  expect(told('bad KVM')).toHaveLength(1);
});

test('User-Mode Linux is reported apart from emulation', () => {
  expect(told('no KVM')).toHaveLength(1);
  expect(told('no KVM', 'warn', home, 'uml')).toEqual([
    expect.stringMatching(/^no KVM: containers run on User-Mode Linux/),
  ]);
  expect(told('no KVM')).toEqual([]);
  expect(told('no KVM', 'warn', home, 'uml')).toEqual([]);
});

test('a quiet log gets no warning, which does not count as reported', () => {
  expect(told('no KVM', 'error')).toEqual([]);
  expect(told('no KVM')).toHaveLength(1);
});

test('several emulated CPUs are reported at each start', () => {
  const messages: string[] = [];
  const log: CliLog = { level: 'warn', debug() {}, info() {}, error() {}, warn: (message) => messages.push(message) };
  warnOfEmulatedCpus(2, log);
  warnOfEmulatedCpus(2, log);
  expect(messages).toEqual([
    expect.stringMatching(/^QEMU emulates 2 CPUs, .*; --cpus 1 is safe$/),
    expect.stringMatching(/^QEMU emulates 2 CPUs/),
  ]);
});

test('a home that cannot be written is not an error', () => {
  writeFileSync(join(home, 'file'), '');
  expect(told('no KVM', 'warn', join(home, 'file', 'home'))).toHaveLength(1);
});
