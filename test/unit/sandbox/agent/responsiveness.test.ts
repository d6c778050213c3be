// Each request to a guest has a deadline, a guest that lets one pass is suspect, and its next answer
// makes it trusted again.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Responsiveness } from '../../../../sandbox/agent/responsiveness.js';
import { type Deferred, defer } from '../../../../sandbox/deferred.js';

let guest: Responsiveness;
let asked: Deferred<string>[];
const changes: boolean[] = [];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  guest = new Responsiveness();
  asked = [];
  changes.length = 0;
  guest.onChange = (suspect) => changes.push(suspect);
});

afterEach(() => {
  guest[Symbol.dispose]();
  vi.useRealTimers();
});

/** Lets so many milliseconds pass, and what is to be read be read. */
async function pass(milliseconds: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(milliseconds);
  await new Promise(setImmediate);
}

function ask(options?: Parameters<Responsiveness['inTime']>[1]): Promise<string> {
  const answer = guest.inTime(() => {
    const pending = defer<string>();
    asked.push(pending);
    return pending.promise;
  }, options);
  answer.catch(() => {});
  return answer;
}

test('an answer in time is passed on, as is a refusal', async () => {
  const [first, second] = [ask(), ask()];
  await pass(29_999);
  asked[0]!.resolve('yes');
  asked[1]!.reject(new Error('no'));
  expect(await first).toBe('yes');
  await expect(second).rejects.toThrow('no');
  await pass(60_000);
  expect(changes).toEqual([]);
  expect(vi.getTimerCount()).toBe(0);
});

describe('a guest that lets a deadline pass', () => {
  test('is suspect, and further requests fail at once and are not sent', async () => {
    const answer = ask();
    await pass(30_000);
    await expect(answer).rejects.toMatchObject({
      code: 'unresponsive',
      message: /^the guest has not answered in 30 s/,
    });
    expect(guest.isSuspect).toBe(true);
    await expect(ask()).rejects.toMatchObject({ code: 'unresponsive' });
    expect(asked).toHaveLength(1);
    expect(changes).toEqual([true]);
  });

  test('is trusted again with its next answer, whose asker is told that it came late', async () => {
    const late: unknown[] = [];
    ask({ onLate: (answer) => late.push(answer) });
    await pass(30_000);
    asked[0]!.resolve('at last');
    await pass(0);
    expect(late).toEqual(['at last']);
    expect(changes).toEqual([true, false]);
    const next = ask();
    asked[1]!.resolve('yes');
    expect(await next).toBe('yes');
  });
});

test('a request may have a deadline of its own', async () => {
  ask({ timeout: 120_000 });
  await pass(119_999);
  expect(guest.isSuspect).toBe(false);
  await pass(1);
  expect(guest.isSuspect).toBe(true);
});

test('a paused guest has no deadlines, and all of them again when it goes on', async () => {
  const before = ask();
  await pass(20_000);
  guest.hold(true);
  await pass(3_600_000);
  guest.hold(false);
  await pass(29_999);
  expect(guest.isSuspect).toBe(false);
  await pass(1);
  await expect(before).rejects.toMatchObject({ code: 'unresponsive' });
});

test('requests that are never answered are bounded while others are answered', async () => {
  for (let count = 0; count < 1024; count++) ask();
  await expect(ask()).rejects.toMatchObject({ code: 'unresponsive' });
  expect(asked).toHaveLength(1024);
  asked[5]!.resolve('yes');
  await pass(0);
  ask();
  expect(asked).toHaveLength(1025);
});

describe('a process that stands still', () => {
  /** An answer that another process gives after so many milliseconds. */
  function answerAfter(milliseconds: number): Promise<string> {
    const script = `sleep ${milliseconds / 1000}; printf yes`;
    const child = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'] });
    return once(child.stdout, 'data').then(String);
  }
  const standStill = (milliseconds: number) =>
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);

  test.each([
    ['of what comes meanwhile', 8000, 500],
    ['and gives the guest the rest of its time', 5000, 7000],
  ])('takes no answer for late, %s', async (_, stands, answers) => {
    vi.useRealTimers();
    guest = new Responsiveness();
    const answer = guest.inTime(() => answerAfter(answers), { timeout: 6000 });
    standStill(stands);
    expect(await answer).toBe('yes');
    expect(guest.isSuspect).toBe(false);
  });
});

test('a guest that has ended leaves no timer', () => {
  ask();
  guest[Symbol.dispose]();
  expect(vi.getTimerCount()).toBe(0);
});
