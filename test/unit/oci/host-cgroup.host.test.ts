// The limits of a container's cgroup in a hierarchy of this host, in cgroups of the test.
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Hierarchy, hierarchies, writeLimits } from '../../../oci/keeper/host-cgroup.js';
import { wordsOf } from '../../../sandbox/cgroup/hierarchy.js';

function hasCpus({ mount, controllers }: Hierarchy): boolean {
  return (controllers ?? wordsOf(join(mount, 'cgroup.controllers'))).includes('cpu');
}

test('a cgroup above that has less time than the container with its devices holds, and is no error', () => {
  const [own, mountinfo] = ['cgroup', 'mountinfo'].map((name) => readFileSync(`/proc/self/${name}`, 'utf8'));
  const { mount, controllers } = hierarchies(own!, mountinfo!).find(hasCpus)!;
  const pod = join(mount, `tsvm-pod-${process.pid}`);
  const container = join(pod, 'container');
  mkdirSync(pod);
  try {
    if (controllers === undefined) writeFileSync(join(pod, 'cgroup.subtree_control'), '+cpu');
    mkdirSync(container);
    const limits = { memory: undefined, cpus: 1, shares: undefined };
    writeLimits(pod, controllers, { ...limits, cpus: 0.5 });
    writeLimits(container, controllers, limits);
    const time = readFileSync(join(container, controllers === undefined ? 'cpu.max' : 'cpu.cfs_quota_us'), 'utf8');
    expect(time.trim()).toBe(controllers === undefined ? '200000 100000' : '-1');
    // Less than the one above has is the container's own.
    writeLimits(container, controllers, { ...limits, cpus: 0.25 });
    expect(readFileSync(join(container, controllers === undefined ? 'cpu.max' : 'cpu.cfs_quota_us'), 'utf8')).toMatch(
      /^125000\b/,
    );
  } finally {
    for (const path of [container, pod]) rmdirSync(path);
  }
});
