// Proves that a log whose end cannot be learned is nothing that ends the process which reads it.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Container } from '../../../../sandbox/containers/container.js';
import { CREATED } from '../../../../sandbox/home/container-record.js';
import { Home } from '../../../../sandbox/home/home.js';
import { LogWriter } from '../../../../sandbox/home/log-file.js';
import { makeContainer } from '../home/containers.js';

test('a reader that is slow when its supervisor fails reads on', async () => {
  const home = new Home(mkdtempSync('/tmp/tsvm-test-'));
  onTestFinished(() => rmSync(home.path, { recursive: true }));
  const folder = await makeContainer(home, 'box');
  using lock = await folder.lock();
  expect(lock).toBeDefined();
  folder.writeState({ ...CREATED, status: 'running', sockets: home.path });
  const failed = `${JSON.stringify({ type: 'failed', code: 'state', message: 'of no use' })}\n`;
  const control = createServer((socket) => socket.resume().end(failed)).listen(join(home.path, 'control'));
  onTestFinished(() => void control.close());
  const unhandled: unknown[] = [];
  const note = (error: unknown) => unhandled.push(error);
  process.on('unhandledRejection', note);
  onTestFinished(() => void process.off('unhandledRejection', note));
  {
    using writer = new LogWriter(folder.log);
    writer.write('stdout', Buffer.from('one\n'));
  }
  const found: string[] = [];
  const told = new Promise<void>((resolve) => {
    control.once('connection', (socket) => socket.once('close', () => setTimeout(resolve, 100)));
  });
  for await (const { log } of Container.find(home, 'box').logs({ follow: true })) {
    found.push(log);
    await told;
  }
  expect(found).toEqual(['one\n']);
  expect(unhandled).toEqual([]);
});
