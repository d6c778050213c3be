// The lab runs commands as if they were spawned here, and replaces a machine that dies.
import { createHash, randomBytes } from 'node:crypto';
import { expect, inject, test } from 'vitest';
import { runInLab, spawnInLab } from '../lab/client.js';
import { Lab } from '../lab/lab.js';

const run = (argv: string[], options = {}) => runInLab(inject('lab'), argv, options);

test('the lab has a KVM and AMD virtualisation', async () => {
  const { stdout } = await run(['sh', '-c', 'grep -c -w svm /proc/cpuinfo; test -c /dev/kvm && echo kvm']);
  expect(stdout.toString()).toBe('3\nkvm\n');
});

test("no program runs on the lab's first CPU, whose flags the emulator loses", async () => {
  const { stdout } = await run(['grep', '-h', 'Cpus_allowed_list', '/proc/self/status', '/proc/1/status']);
  expect(stdout.toString()).toBe('Cpus_allowed_list:\t1-2\n'.repeat(2));
});

test('stdout, stderr and the exit code come back separately', async () => {
  const { stdout, stderr, exitCode, signal } = await run(['sh', '-c', 'echo out; echo err >&2; exit 3']);
  expect([stdout.toString(), stderr.toString(), exitCode, signal]).toEqual(['out\n', 'err\n', 3, null]);
});

test('a command that is not found exits with 127 and an error', async () => {
  const { stderr, exitCode } = await run(['nosuchcommand']);
  expect([stderr.toString(), exitCode]).toEqual(['lab: nosuchcommand: No such file or directory\n', 127]);
});

test('8 MB through stdin and back are the same bytes', async () => {
  const bytes = randomBytes(8_000_000);
  const { stdout } = await run(['cat'], { stdin: bytes });
  expect(createHash('sha256').update(stdout).digest()).toEqual(createHash('sha256').update(bytes).digest());
});

test('a signal reaches a command that does not read its stdin', async () => {
  const command = spawnInLab(inject('lab'), ['sleep', '1000']);
  command.stdout.resume();
  command.stderr.resume();
  command.stdin.on('error', () => {});
  command.stdin.write(Buffer.alloc(1_000_000));
  command.kill('SIGTERM');
  expect(await command.exit).toEqual({ exitCode: null, signal: 'SIGTERM' });
});

test('a command that times out ends with all its children', async () => {
  const script = 'sleep 98765 & sleep 98765';
  await expect(run(['sh', '-c', script], { timeout: 2000 })).rejects.toThrow(/no end after 2000 ms/);
  expect((await run(['pgrep', '-f', '-x', 'sleep 98765'])).exitCode).toBe(1);
});

test('a machine that dies fails its commands, and the next command runs in another', async () => {
  await using lab = await Lab.start();
  const restart = 'syscall(169, 0xfee1dead, 672274793, 0x01234567, 0)';
  await expect(runInLab(lab.socketPath, ['perl', '-e', restart])).rejects.toThrow('the lab went away');
  expect((await runInLab(lab.socketPath, ['echo', 'here'])).stdout.toString()).toBe('here\n');
});
