// A container goes back to a snapshot from any state, with its volume, network, ports and restart
// policy; a stop meanwhile and a failure at the last step leave it with the disk that it had.
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { DEBIAN, isLab, machines, run } from './machine.js';
import { OwnHome } from './own-home.js';

/** Milliseconds: longer than six boots take in the lab on a busy host. */
const TIMEOUT = 1_200_000;

const PROGRAM = fileURLToPath(new URL('../../dist/rollbacks.js', import.meta.url));

describe.each(machines.filter((machine) => isLab(machine) || machine.name.endsWith('kvm')))('on $name', (machine) => {
  test('a container goes back while it is paused, is stopped on the way, and restarts after a late failure', {
    timeout: TIMEOUT + 60_000,
  }, async () => {
    using home = new OwnHome();
    const { code, stdout, stderr } = await run(machine, [process.execPath, PROGRAM, DEBIAN], {
      env: { TSVM_HOME: home.path },
      timeout: TIMEOUT,
    });
    expect({ code, stderr }, stdout + stderr).toEqual({ code: 0, stderr: '' });
    expect(stdout.trimEnd().split('\n')).toEqual([
      'suspend of a paused one: not-running: container ID is paused: unpause it first',
      'snapshot of a paused one: not-running: container ID is paused: unpause it first',
      'rollback of a paused one: done, running, 0',
      'its files: before after',
      'its address: the same',
      'its ports: 1',
      'its peer hears: before',
      'pause of one that is copied: conflict: container ID is being suspended, copied or rolled back, done',
      'rollback of one that is stopped meanwhile: aborted: stopped before it was rolled back, exited, 0, 137',
      'its files: later later',
      'rollback that fails late: agent: add entropy',
      'its restart: running, 1, latest latest',
      'its peer hears: latest',
      'left:',
    ]);
  });
});
