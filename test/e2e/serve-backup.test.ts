// tsvm backup while jobs are submitted and run: what was accepted before it is known to a server on
// the copy. What had ended has ended, what waited runs, and what ran is told as lost.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run, TSVM, uml } from './machine.js';
import { linkStores, list } from './own-home.js';
import { Served } from './served.js';

test('a copy that is made under load knows every job that was accepted before', async () => {
  await using served = new Served(uml);
  const key = await served.tenant('acme');
  await served.start();
  const outputs = { outputs: '/root/left', stdin: 'input' };
  const ended = await served.submit(key, ['sh', '-c', 'cat; echo kept > /root/left; exit 3'], outputs);
  await served.jobThatIs(key, ended, 'ended');
  // They hold the tenant's CPUs, so that what follows waits.
  await run(uml, [TSVM, 'tenant', 'set', '--data', served.data, '--cpus', '2', 'acme']);
  const running = await served.submit(key, ['sh', '-c', 'echo begun; sleep 1013']);
  const again = await served.submit(key, ['sh', '-c', 'echo begun; sleep 30'], { retries: 1 });
  for (const id of [running, again]) await served.jobThatIs(key, id, 'running');
  const queued: string[] = [];
  for (let n = 0; n < 3; n++) queued.push(await served.submit(key, ['cat'], { stdin: `input ${n}` }));

  // Others are submitted meanwhile.
  const file = join(served.data, 'copy.tar');
  let isDone = false;
  const load = (async () => {
    while (!isDone) await served.submit(key, ['true'], { stdin: 'x'.repeat(10_000), image: 'nothing' });
  })();
  const made = await run(uml, [TSVM, 'backup', '--data', served.data, file]);
  isDone = true;
  await load;
  expect(made).toMatchObject({ code: 0, stdout: `${file}\n`, stderr: '' });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(list(served.data).filter((name) => /\.part$|^backup$/.test(name))).toEqual([]);
  const copy = mkdtempSync('/var/tmp/tsvm-serve-');
  execFileSync('tar', ['-x', '-f', file, '-C', copy]);
  expect(statSync(copy).mode & 0o777).toBe(0o700);

  await using restored = new Served(uml, copy);
  linkStores(restored.home('acme').path);
  await restored.start();
  expect(await restored.job(key, ended)).toMatchObject({
    status: 'ended',
    reason: 'failed',
    exitCode: 3,
    left: expect.any(Number),
  });
  expect((await restored.output(key, ended)).map(({ log }) => log)).toEqual(['input']);
  const to = mkdtempSync(join(copy, 'out-'));
  expect(await restored.client(key, ['cp', ended, to])).toMatchObject({ code: 0, stderr: '' });
  expect(readFileSync(join(to, 'left'), 'utf8')).toBe('kept\n');
  expect(await restored.jobThatIs(key, running, 'ended')).toMatchObject({ reason: 'lost', attempts: 1 });
  // Its run counts, and it may run once more.
  expect(await restored.jobThatIs(key, again, 'ended')).toMatchObject({ reason: 'succeeded', attempts: 2 });
  for (const [n, id] of queued.entries()) {
    expect(await restored.jobThatIs(key, id, 'ended')).toMatchObject({ reason: 'succeeded', attempts: 1 });
    expect((await restored.output(key, id)).map(({ log }) => log)).toEqual([`input ${n}`]);
  }
  // The old server has lost nothing.
  expect(await served.job(key, running)).toMatchObject({ status: 'running', attempts: 1 });
});
