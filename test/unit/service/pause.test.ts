// Pauses and resumes of sandboxes whose supervisors a test plays: what servers that were killed
// have ordered comes after them, and what stands in the way of a pause goes by.
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { SandboxError } from '../../../sandbox/errors.js';
import { ID, Left, SUSPENDED } from './left.js';

test('a machine that is saved after the death of the server that wanted it is paused, not lost', async () => {
  await using left = new Left();
  await left.make('pausing', 'running');
  await left.start();
  expect(await left.status()).toBe('running');
  left.save();
  await left.until('paused');
  expect((await left.ask()).body).toMatchObject({ keptIn: 'disk' });
});

test('so is one whose lifetime has ended meanwhile', async () => {
  await using left = new Left();
  left.suspend = async () => {
    setTimeout(() => left.save(), 300);
    left.suspend = async () => {
      throw new SandboxError('conflict', 'the container is being suspended');
    };
    throw new SandboxError('conflict', 'the container is being suspended');
  };
  await left.make('pausing', 'running', { lifetime: 1000, atExpiry: 'pause' });
  await sleep(1000);
  await left.start();
  await left.until('paused');
  expect((await left.ask()).body).toMatchObject({ keptIn: 'disk' });
});

test('a machine that goes on after the death of the server that wanted it is told as one that runs', async () => {
  await using left = new Left();
  await left.make('resuming', 'suspended');
  await left.start();
  expect(await left.status()).toBe('resuming');
  left.goOn();
  await left.until('running');
  // It is watched.
  left.save();
  await left.until('paused');
});

test('one that is paused stays so while its home cannot be read', async () => {
  await using left = new Left();
  await left.make('paused', 'suspended');
  left.leave(SUSPENDED);
  const config = `${left.path}/config.json`;
  renameSync(config, `${config}.aside`);
  mkdirSync(config);
  await left.start();
  expect(await left.status()).toBe('paused');
  expect(left.service.faults.join()).toContain(`cannot find ${ID} of acme`);
  // Else it would be tried again, until it succeeds.
  expect(left.service.faults.join()).not.toContain('cannot end');
  rmSync(config, { recursive: true });
  renameSync(`${config}.aside`, config);
  await left.service.stop();
  await left.start();
  expect((await left.ask()).body).toMatchObject({ status: 'paused', keptIn: 'disk' });
});

test('a process that is just being started delays a pause', async () => {
  await using left = new Left();
  await left.make('running', 'running');
  await left.start();
  let tries = 0;
  left.suspend = async () => {
    if (++tries < 3) throw new SandboxError('agent', 'a process is being started, or a tool runs');
    left.save();
  };
  expect(await left.ask('POST', '/pause')).toMatchObject({ status: 200, body: { status: 'paused', keptIn: 'disk' } });
});

test('one with placeholders of secrets is not saved: its proxy would not be what its memory knows', async () => {
  await using left = new Left();
  const secrets = [{ name: 'TOKEN', env: 'TOKEN', placeholder: { hosts: ['api.example.com'] } }];
  await left.make('running', 'running', { secrets, network: 'public' });
  await left.start();
  expect(await left.ask('POST', '/pause')).toMatchObject({ status: 400, body: { code: 'bad-request' } });
  expect(await left.status()).toBe('running');
});
