// A machine's processes are found below those that its owner started.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { processTree } from '../../../../sandbox/machine/process-tree.js';

test('a process comes with those below it', async () => {
  const child = spawn('sh', ['-c', 'sh -c "sleep 1000 & echo ready; wait" & wait'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const exited = once(child, 'exit');
  try {
    await once(child.stdout, 'data');
    expect(processTree(child.pid!)).toHaveLength(3);
    expect(processTree(process.pid)).toEqual(expect.arrayContaining(processTree(child.pid!)));
  } finally {
    for (const pid of processTree(child.pid!)) process.kill(pid, 'SIGKILL');
  }
  await exited;
});
