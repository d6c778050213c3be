// Proves that a child is signalled only while its process id is its own.
import { expect, test, vi } from 'vitest';
import { ChildProcess } from '../../../../vmm/host/child-process.js';
import { EventLoop } from '../../../../vmm/host/event-loop.js';

const signals = vi.hoisted((): number[] => []);

vi.mock('../../../../vmm/host/libc.js', async (importOriginal) => {
  const libc = await importOriginal<typeof import('../../../../vmm/host/libc.js')>();
  const kill = (pid: number, signal: number): number => {
    signals.push(signal);
    return libc.kill(pid, signal);
  };
  return { ...libc, kill };
});

test('a child that has ended gets no more signals', () => {
  using loop = new EventLoop();
  let exitCode: number | undefined;
  const child = new ChildProcess({
    program: '/bin/sh',
    args: ['-c', 'exit 7'],
    inherited: [],
    loop,
    onOutput: () => {},
    onEnd: (end) => {
      exitCode = end.exitCode;
    },
  });
  while (exitCode === undefined) loop.poll(100);
  expect(exitCode).toBe(7);
  child.resume();
  child[Symbol.dispose]();
  expect(signals).toEqual([]);
});

test('a child that runs is killed when it is disposed of', () => {
  using loop = new EventLoop();
  const child = new ChildProcess({
    program: '/bin/sleep',
    args: ['1000'],
    inherited: [],
    loop,
    onOutput: () => {},
    onEnd: () => {},
  });
  child[Symbol.dispose]();
  expect(signals).toEqual([9]);
});
