// Timers of the event loop.
import { describe, expect, test } from 'vitest';
import { EventLoop } from '../../../../vmm/host/event-loop.js';
import * as libc from '../../../../vmm/host/libc.js';
import { Timer } from '../../../../vmm/host/timer.js';

describe('a timer', () => {
  test('fires once each time it is set', () => {
    using loop = new EventLoop();
    let fired = 0;
    using timer = new Timer(loop, () => fired++);
    for (const milliseconds of [0.01, 0, 1.5]) {
      timer.set(milliseconds);
      loop.poll(-1);
      expect(loop.poll(0)).toBe(0);
    }
    expect(fired).toBe(3);
  });

  test('does not fire once it is cleared, or before the later time that it is set to', () => {
    using loop = new EventLoop();
    let fired = 0;
    using timer = new Timer(loop, () => fired++);
    timer.set(0);
    timer.clear();
    expect(loop.poll(5)).toBe(0);
    timer.set(0);
    timer.set(1e15);
    expect(loop.poll(5)).toBe(0);
    expect(fired).toBe(0);
  });

  test('waits for the first of several, beside descriptors that are ready', () => {
    using loop = new EventLoop();
    const fired: string[] = [];
    using late = new Timer(loop, () => fired.push('late'));
    using soon = new Timer(loop, () => fired.push('soon'));
    late.set(1e9);
    soon.set(2);
    const fd = libc.createEventFd();
    libc.signalEventFd(fd);
    loop.add(fd, libc.EPOLLIN, () => {});
    while (fired.length === 0) expect(loop.poll(-1)).toBeGreaterThan(0);
    libc.drainEventFd(fd);
    expect(loop.poll(0)).toBe(0);
    expect(fired).toEqual(['soon']);
    loop.remove(fd);
    libc.close(fd);
  });

  test('that is due does not fire if another callback of the same round sets it to a later time', () => {
    using loop = new EventLoop();
    const fired: number[] = [];
    const timers = [0, 1].map(
      (index): Timer =>
        new Timer(loop, () => {
          fired.push(index);
          timers[1 - index]?.set(1e9);
        }),
    );
    for (const timer of timers) timer.set(0);
    while (fired.length === 0) loop.poll(-1);
    loop.poll(5);
    expect(fired.length).toBe(1);
    for (const timer of timers) timer[Symbol.dispose]();
  });
});
