import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { run, startIdling } from '../../../compare/running.js';
import { builtFile } from '../../../installation/index.js';

const env = { PATH: process.env.PATH };

/** The processes that have a text in their command lines. */
function processesWith(text: string): number[] {
  return readdirSync('/proc').flatMap((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, 'latin1').includes(text) ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

test('a program that is ended is not waited for because of its output, which an escaped process holds', async () => {
  const time = `9${process.pid}`;
  const ending = new AbortController();
  try {
    const running = run({ words: ['sh', '-c', `(setsid sleep ${time} &); exec sleep 1${time}`], env }, ending.signal);
    const isThere = (text: string) => processesWith(text).length > 0;
    const haveStarted = () =>
      isThere(`sleep\x001${time}`) && isThere(`sleep\0${time}`) && !isThere(`setsid\0sleep\0${time}`);
    while (!haveStarted()) await Promise.race([running, sleep(20)]);
    ending.abort();
    await expect(running).rejects.toBe(ending.signal.reason);
    expect(processesWith(`sleep\0${time}`)).toHaveLength(1);
    expect(processesWith(`sleep\x001${time}`)).toEqual([]);
  } finally {
    for (const pid of processesWith(`sleep\0${time}`)) process.kill(pid, 'SIGKILL');
  }
});

test('a search of filters that is killed at any time leaves no process', async () => {
  // A filter of this process alone. It ends each call, so that each has a process of its own.
  const digits = (value: number, width: number) => value.toString(16).padStart(width, '0');
  const own = [[0x20, 0, 0, 0] as const, [0x15, 0, 0, process.pid] as const, [0x06, 0, 0, 0x8000_0000] as const];
  const filter = own.map(
    ([code, yes, no, value]) => digits(code, 4) + digits(yes, 2) + digits(no, 2) + digits(value, 8),
  );
  for (let turn = 0; turn < 60; turn++) {
    const trying = spawn(builtFile('tsvm-gauge'), ['try', filter.join('')], { stdio: 'ignore' });
    await sleep((turn % 20) * 2);
    trying.kill('SIGKILL');
    if (trying.exitCode === null) await once(trying, 'exit');
  }
  await expect.poll(() => processesWith(`try\0${filter.join('')}`)).toEqual([]);
});

test('a sandbox that ends without a word of its own is told with its exit code', async () => {
  const { signal } = new AbortController();
  await using idling = await startIdling({ words: ['sh', '-c', 'echo ready; exec sleep 0.2'], env }, signal);
  await expect(idling.says('done 1', 60_000, signal)).rejects.toThrow('it ended with code 0');
});

test('a sandbox whose work takes too long is told with its time, and one that is ended with the reason', async () => {
  const ending = new AbortController();
  const { signal } = ending;
  await using idling = await startIdling({ words: ['sh', '-c', 'echo ready; exec sleep 1000'], env }, signal);
  await expect(idling.says('done 1', 100, signal)).rejects.toThrow('it has not done its work within 0.1 s');
  ending.abort(new Error('enough'));
  await expect(idling.says('done 1', 60_000, signal)).rejects.toThrow('enough');
});
