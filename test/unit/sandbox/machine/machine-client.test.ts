// The client of a machine process turns its lines into events, and each way of dying into one clear
// error.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MachineClient } from '../../../../sandbox/machine/machine-client.js';
import { PACE } from '../../../../sandbox/paced.js';
import { BOOTED, scriptedMachine } from './scripted-machine.js';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
});

afterAll(() => rmSync(folder, { recursive: true }));

const machine = (script: string) => scriptedMachine(folder, script);

test('an answer arrives as an event', async () => {
  using it = machine(`control.once('data', (line) => {
    say({ type: 'probed', result: { usable: JSON.parse(line).type === 'probe', reason: 'fine' } });
  });`);
  it.send({ type: 'probe' });
  expect(await it.probed).toEqual({ type: 'probed', result: { usable: true, reason: 'fine' } });
});

describe('a machine process that ends without being asked to', () => {
  test.each([
    ['by SIGKILL', "process.kill(process.pid, 'SIGKILL');", 'the machine process died (SIGKILL)'],
    [
      'by a system call',
      "process.kill(process.pid, 'SIGSYS');",
      'the machine process made a system call that is not on its list, and was killed (SIGSYS): dmesg says which',
    ],
    [
      'because V8 is out of memory',
      "process.stderr.write('\\nFATAL ERROR: heap out of memory\\n'); process.kill(process.pid, 'SIGSYS');",
      'the machine process died (SIGSYS): FATAL ERROR: heap out of memory',
    ],
    ['with exit code 0', 'process.exit(0);', 'the machine process died (exit code 0)'],
    ['with an exception', "throw new RangeError('too far');", 'died (exit code 1): RangeError: too far'],
    [
      "with an error on its guest's console",
      "process.stderr.write('Error: \\x1b]52;c;eA==\\x07\\x1b[2J\\n'); process.exitCode = 1; control.end();",
      'the machine process died (exit code 1): Error: \\x1b]52;c;eA==\\x07\\x1b[2J',
    ],
    ['with a line that is not JSON', "control.write('hello\\n');", 'cannot be understood'],
    ['with a line without an end', "control.write('x'.repeat(1100000));", 'cannot be understood'],
    [
      'with a failure',
      "say({ type: 'failed', code: 'no-kvm', message: 'there is no /dev/kvm' }); process.exitCode = 1; control.end();",
      'there is no /dev/kvm',
    ],
    ['with an event of no type', 'say({ up: true });', 'cannot be understood: an event of no known type'],
    ['with an event that is nothing', 'say(null);', 'cannot be understood: event is not an object'],
    ['with an answer to no question', "say({ type: 'joined' });", 'cannot be understood: an answer to no question'],
    ['with a save that was not asked for', "say({ type: 'saved' });", 'cannot be understood: an answer to no question'],
    [
      'with a connection before boot',
      "say({ type: 'connect', asked: [[1, 'tcp', 40000, 80, 0, 0, 0xffff, 1]] });",
      'cannot be understood: a connection before boot',
    ],
    ['with two boots', `${BOOTED} ${BOOTED}`, 'cannot be understood: too many events: booted'],
    [
      'with a failure of many lines',
      "say({ type: 'failed', code: 'host', message: 'one\\ntwo \\x1b[2J' }); process.exitCode = 1; control.end();",
      'one two  [2J',
    ],
    [
      'by a reset of its guest',
      "say({ type: 'stopped', reason: 'reset', statistics: { exits: {}, ioctls: {} } });",
      'the guest stopped by itself',
    ],
    [
      "by a panic of its guest's kernel",
      "say({ type: 'stopped', reason: 'reset', statistics: { exits: {}, ioctls: {} }, console: 'x\\r\\n[1.0] Kernel panic - not syncing: No \\x1b[2Jinit\\r\\n' });",
      "the guest's kernel panicked: No  [2Jinit",
    ],
  ])('%s is reported in one line', async (_, script, message) => {
    using it = machine(script);
    const { error } = await it.ended;
    expect(error?.message).toContain(message);
    expect(error?.message).not.toContain('\n');
  });

  test('is no longer alive', async () => {
    using it = machine(`${BOOTED} control.once('data', () => process.exit(1));`);
    await it.booted;
    expect(await it.isAlive()).toBe(true);
    it.send({ type: 'leave', folder });
    await it.ended;
    expect(await it.isAlive()).toBe(false);
  });
});

test("a guest's console reaches no terminal with what controls one", async () => {
  using it = machine("process.stderr.write('[0.1] Linux\\r\\n\\x1b]0;mine\\x07\\x9b2J\\rpaid\\n'); control.end();");
  let console = '';
  it.onStderr = (text) => {
    console += text;
  };
  await it.ended;
  expect(console).toBe('[0.1] Linux\r\n\\x1b]0;mine\\x07\\x9b2J\\x0dpaid\n');
});

test('what a machine process says after it could not be understood is not heard', async () => {
  using it = machine(`say({ type: 'nonsense' });
    setInterval(() => say({ type: 'refused', refusal: { reason: 'closed', what: 'tcp' } }), 1);`);
  let refusals = 0;
  it.onRefusal = () => {
    refusals++;
  };
  await it.gone;
  expect(refusals).toBe(0);
});

test.each([
  ['closes its control socket', 'control.end();'],
  ['closes it and ignores what it can', "process.on('SIGTERM', () => {}); control.destroy();"],
])('a machine process that %s and lives on is ended', async (_, script) => {
  using it = machine(`${BOOTED} ${script} setInterval(() => {}, 1000);`);
  await it.booted;
  const { error } = await it.ended;
  expect(error?.message).toBe('the machine process died (SIGKILL)');
  expect(await it.isAlive()).toBe(false);
});

test('a machine process that floods its owner is read at a pace', async () => {
  using it = machine("process.stderr.write('the log of a machine\\n'.repeat(1_000_000));");
  const start = performance.now();
  let bytes = 0;
  it.onStderr = (text) => {
    bytes += text.length;
  };
  while (bytes < 3 * PACE) await sleep(10);
  expect(bytes).toBeLessThan(PACE * (1 + (performance.now() - start) / 1000) + 2 ** 17);
});

test('a machine answers each request for statistics', async () => {
  using it = machine(`let io = 0;
    control.on('data', (lines) => {
      for (const _ of String(lines).trim().split('\\n')) {
        say({ type: 'statistics', statistics: { exits: { io: ++io }, ioctls: {} } });
      }
    });`);
  const answers = await Promise.all([it.statistics(), it.statistics()]);
  expect(answers.map(({ exits }) => exits.io)).toEqual([1, 2]);
});

test('a machine that was asked to stop reports its statistics', async () => {
  using it = machine(`control.once('data', () => {
    say({ type: 'stopped', reason: 'shutdown', statistics: { exits: { io: 5 }, ioctls: {} } });
    control.end();
  });`);
  it.send({ type: 'shutdown' });
  expect(await it.ended).toEqual({ statistics: { exits: { io: 5 }, ioctls: {} }, error: undefined });
});

test('a program that cannot be run is reported as the end of the machine', async () => {
  using it = new MachineClient({ program: join(folder, 'nonexistent.mjs'), jail: 'off' });
  const { error } = await it.ended;
  expect(error?.message).toMatch(/the machine process died \(exit code 1\): Error: Cannot find module/);
});

test('disposing of a machine kills its process', async () => {
  const it = machine('setInterval(() => {}, 1000);');
  it[Symbol.dispose]();
  await it.ended;
  expect(() => process.kill(it.pid!, 0)).toThrow('ESRCH');
});

test('a program that the machine started ends with it, even if it is stopped', async () => {
  const it = machine(`
    const { spawn } = await import('node:child_process');
    const { pid } = spawn('sleep', ['1000'], { stdio: 'ignore' });
    process.kill(pid, 'SIGSTOP');
    say({ type: 'refused', refusal: { reason: 'denied', what: String(pid) } });
  `);
  const pid = await new Promise<string>((resolve) => {
    it.onRefusal = ({ what }) => resolve(what);
  });
  it[Symbol.dispose]();
  await it.gone;
  while (existsSync(`/proc/${pid}`) && !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'latin1')))
    await sleep(5);
});
