import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { CliLog, Level } from '../../../../cli/output/log.js';
import { warnOfEmulation } from '../../../../cli/output/warnings.js';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'tsvm-home-'));
});
afterEach(() => rmSync(home, { recursive: true }));

function told(reason: string, level: Level = 'warn', folder = home): string[] {
  const messages: string[] = [];
  const log: CliLog = { level, debug() {}, info() {}, error() {}, warn: (message) => messages.push(message) };
  warnOfEmulation(reason, log, folder);
  return messages;
}

test('why the CPU is emulated is said once, and again when the reason is another', () => {
  expect(told('no KVM')).toEqual([expect.stringMatching(/^no KVM: QEMU emulates the CPU/)]);
  expect(told('no KVM')).toEqual([]);
  expect(told('bad KVM')).toHaveLength(1);
});

test('who wants quiet is not told, which does not count as said', () => {
  expect(told('no KVM', 'error')).toEqual([]);
  expect(told('no KVM')).toHaveLength(1);
});

test('a home that cannot be written is no reason to fail', () => {
  writeFileSync(join(home, 'file'), '');
  expect(told('no KVM', 'warn', join(home, 'file', 'home'))).toHaveLength(1);
});
