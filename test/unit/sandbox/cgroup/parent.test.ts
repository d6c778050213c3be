// The folder for the cgroups of machines that a caller names: what is no such folder is refused in
// one line.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { cgroupLimits } from '../../../../sandbox/cgroup/limits.js';
import { describeOutOfMemory, isCgroupOf, removeCgroup } from '../../../../sandbox/cgroup/machine-cgroup.js';
import { delegatedParent } from '../../../../sandbox/cgroup/parent.js';
import { checkParentName, givenParent } from '../../../../sandbox/cgroup/parent-name.js';
import { boundWithoutCgroup } from '../../../../sandbox/cgroup/without.js';
import { processTree } from '../../../../sandbox/machine/process-tree.js';

afterEach(() => vi.unstubAllEnvs());

test.each(['', '..', '/a/../b', 'a/..', 'a\0b', 'a\nb'])('%j is no name of a folder', (path) => {
  expect(() => checkParentName(path)).toThrow(/^invalid cgroup parent ".*": use a folder of cgroup v2$/);
});

test.each(['/tenants', 'tenants/one', '/sys/fs/cgroup/tenants', '/a..b', '/...'])('%j is one', (path) => {
  expect(() => checkParentName(path)).not.toThrow();
});

test('the environment names the folder of machines that have none, and is checked as well', () => {
  vi.stubEnv('TSVM_CGROUP_PARENT', '/from-environment');
  expect([givenParent(undefined), givenParent('/given')]).toEqual(['/from-environment', '/given']);
  vi.stubEnv('TSVM_CGROUP_PARENT', '');
  expect(givenParent(undefined)).toBeUndefined();
  vi.stubEnv('TSVM_CGROUP_PARENT', '/a/../b');
  expect(() => givenParent(undefined)).toThrow('invalid cgroup parent "/a/../b"');
});

test('a folder that is missing, or is none of cgroup v2, is refused in one line', () => {
  for (const path of ['/no-such-cgroup', '/tmp']) {
    expect(() => delegatedParent(path)).toThrow(
      /^cgroup parent \/\S+: (there is no such folder|this host has no cgroup v2).*$/,
    );
  }
});

test('the record of a container names no cgroup but its own', () => {
  const id = '0123456789ab';
  expect(isCgroupOf(`/sys/fs/cgroup/tsvm/tsvm-${id}`, id)).toBe(true);
  expect(isCgroupOf(`/sys/fs/cgroup/user.slice/tsvm-${id}.scope`, id)).toBe(true);
  expect(isCgroupOf('/sys/fs/cgroup/system.slice', id)).toBe(false);
  expect(isCgroupOf(`/sys/fs/cgroup/tsvm-${id}/other`, id)).toBe(false);
});

test('a machine that the kernel ended for lack of memory is told from one that ended otherwise', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-cgroup-'));
  const limits = cgroupLimits({ memory: 64 * 2 ** 20, cpus: 1, accel: 'kvm' });
  // The texts are those of Linux 6.1.
  const events = (kills: number) =>
    `low 0\nhigh 0\nmax 212\noom ${kills}\noom_kill ${kills}\noom_group_kill ${kills}\n`;
  try {
    expect(describeOutOfMemory(folder, limits)).toBeUndefined();
    writeFileSync(join(folder, 'memory.events'), events(0));
    expect(describeOutOfMemory(folder, limits)).toBeUndefined();
    writeFileSync(join(folder, 'memory.events'), events(1));
    expect(describeOutOfMemory(folder, limits)).toBe(
      'the machine was ended: it used more memory than 328 MiB on the host',
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a folder that is no cgroup is not removed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-cgroup-'));
  await removeCgroup(folder);
  expect(existsSync(folder)).toBe(true);
  rmSync(folder, { recursive: true });
  await removeCgroup(folder);
});

test('without a cgroup, a process and those below it have a limit of memory and a low priority', async () => {
  const child = spawn('sh', ['-c', 'sleep 1000 & echo ready; wait'], {
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  });
  // Empty if the kernel does not schedule it as one, as it may not do with a host's first session.
  const session = (pid: number | string) => {
    const path = `/proc/${pid}/autogroup`;
    return existsSync(path) ? (/nice .*/.exec(readFileSync(path, 'latin1'))?.[0] ?? '') : '';
  };
  const own = session('self');
  const exited = once(child, 'exit');
  try {
    await once(child.stdout, 'data');
    const before = session(child.pid!);
    await boundWithoutCgroup(processTree(child.pid!), { cpus: 2 });
    const pids = processTree(child.pid!);
    expect(pids).toHaveLength(2);
    for (const pid of pids) {
      expect(readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/^Max data size +2281701376 +2281701376 +bytes/m);
      expect(getPriority(pid)).toBeGreaterThanOrEqual(5);
      expect(session(pid)).toBe(before === '' ? '' : 'nice 5');
    }
    // A process of this session is not the whole of it.
    const other = spawn('sleep', ['1000'], { stdio: 'ignore' });
    onTestFinished(() => void other.kill('SIGKILL'));
    await boundWithoutCgroup([other.pid!], { cpus: 1 });
    expect(getPriority(other.pid!)).toBeGreaterThanOrEqual(5);
    expect(session('self')).toBe(own);
  } finally {
    for (const pid of processTree(child.pid!)) process.kill(pid, 'SIGKILL');
  }
  await exited;
});
