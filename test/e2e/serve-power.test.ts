// The power fails while jobs run: a copy of the data folder, of one moment, is served elsewhere. No job
// is lost, none whose program had begun begins again, and those that had not begun run.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { run, TSVM, uml } from './machine.js';
import { Served } from './served.js';

const begunAt = (lines: object[]) =>
  (lines as { log: string; time: string }[]).filter(({ log }) => log === 'begun\n').map(({ time }) => time);

test('a server on a copy of any moment knows each job, and begins none again', async () => {
  const copies: { path: string; time: string }[] = [];
  const begun = new Map<string, string>();
  let key: string;
  /** Runs at each of the moments. */
  let held: string;
  {
    await using served = new Served(uml);
    key = await served.tenant('acme');
    await run(uml, [TSVM, 'tenant', 'set', '--data', served.data, '--cpus', '2', 'acme']);
    await served.start();
    held = await served.submit(key, ['sh', '-c', 'echo begun; sleep 1014']);
    await served.jobThatIs(key, held, 'running');
    const ids: string[] = [];
    for (let n = 0; n < 5; n++) ids.push(await served.submit(key, ['sh', '-c', 'echo begun; sleep 1; echo done']));
    for (let n = 0; n < 4; n++) {
      copies.push(served.copy());
      await sleep(Math.random() * 1500);
    }
    for (const id of ids) {
      expect(await served.jobThatIs(key, id, 'ended')).toMatchObject({ reason: 'succeeded', attempts: 1 });
      begun.set(id, begunAt(await served.output(key, id))[0] ?? '');
    }
  }
  for (const { path, time } of copies) {
    await using served = new Served(uml, path);
    await served.start();
    expect(await served.jobThatIs(key, held, 'ended')).toMatchObject({ reason: 'lost', attempts: 1 });
    for (const [id, first] of begun) {
      const { reason, attempts } = await served.jobThatIs(key, id, 'ended');
      const times = begunAt(await served.output(key, id));
      expect({ reason, attempts }).toEqual({ reason: expect.stringMatching(/^(succeeded|lost)$/), attempts: 1 });
      // What had begun then has not begun again.
      if (first < time) expect([[first], []]).toContainEqual(times);
      else if (reason === 'succeeded') expect(times).toEqual([expect.any(String)]);
    }
    expect(served.left('acme').filter((name) => name.startsWith('job-'))).toEqual([]);
  }
});
