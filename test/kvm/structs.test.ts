// Compares vmm/kvm/structs.ts, ioctl.ts, exits.ts and capabilities.ts with the C compiler's values.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import * as capabilities from '../../vmm/kvm/capabilities.js';
import * as exits from '../../vmm/kvm/exits.js';
import { IOCTLS } from '../../vmm/kvm/ioctl.js';
import * as structs from '../../vmm/kvm/structs.js';

/** Compiles and runs a program that prints one number for each expression. */
function evaluate(expressions: string[]): number[] {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-structs-'));
  try {
    const lines = expressions.map((expression) => `  printf("%lld\\n", (long long)(${expression}));`);
    const includes = ['linux/kvm.h', 'stddef.h', 'stdio.h'].map((name) => `#include <${name}>`);
    const source = join(folder, 'print.c');
    writeFileSync(source, [...includes, 'int main(void) {', ...lines, '  return 0;', '}', ''].join('\n'));
    execFileSync('gcc', ['-o', join(folder, 'print'), source]);
    return execFileSync(join(folder, 'print'), { encoding: 'utf8' }).trim().split('\n').map(Number);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Returns the names paired with the compiler's values. */
function compiled(names: string[], expressions: string[]): Record<string, number | undefined> {
  const values = evaluate(expressions);
  return Object.fromEntries(names.map((name, index) => [name, values[index]]));
}

test('ioctl numbers equal those of the C macros', () => {
  const names = Object.keys(IOCTLS);
  expect(IOCTLS).toEqual(compiled(names, names));
});

test('exit reasons, capabilities and constants equal those of the header', () => {
  const numbers = Object.entries({ ...exits, ...capabilities }).filter(([name]) => name.startsWith('KVM_'));
  const names = numbers.map(([name]) => name);
  expect(names.length).toBeGreaterThan(10);
  expect(Object.fromEntries(numbers)).toEqual(compiled(names, names));
});

test("sizes and offsets of structures equal the C compiler's", () => {
  const layouts = Object.entries(structs).filter(([name]) => name.startsWith('kvm_'));
  const expressions = new Map<string, string>();
  const ours: Record<string, number> = {};
  for (const [name, layout] of layouts) {
    for (const [field, value] of Object.entries(layout as Record<string, number>)) {
      const key = `${name}.${field}`;
      expressions.set(key, field === 'size' ? `sizeof(struct ${name})` : `offsetof(struct ${name}, ${field})`);
      ours[key] = value;
    }
  }
  expect(expressions.size).toBeGreaterThan(100);
  expect(ours).toEqual(compiled([...expressions.keys()], [...expressions.values()]));
});

test('general registers are contiguous in struct kvm_regs', () => {
  const offsets = evaluate(structs.REGISTER_NAMES.map((name) => `offsetof(struct kvm_regs, ${name})`));
  expect(offsets).toEqual(structs.REGISTER_NAMES.map((_, index) => index * 8));
});
