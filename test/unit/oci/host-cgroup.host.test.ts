// The limits of a container's cgroup in a hierarchy of this host, in cgroups of the test.
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Hierarchy, hierarchies, memoryAbove, writeLimits } from '../../../oci/keeper/host-cgroup.js';
import { wordsOf } from '../../../sandbox/cgroup/hierarchy.js';

/** The hierarchy with a controller. */
function withController(name: string): Hierarchy {
  const [own, mountinfo] = ['cgroup', 'mountinfo'].map((file) => readFileSync(`/proc/self/${file}`, 'utf8'));
  return hierarchies(own!, mountinfo!).find(({ mount, controllers }) =>
    (controllers ?? wordsOf(join(mount, 'cgroup.controllers'))).includes(name),
  )!;
}

test('a cgroup above that has less time than the container with its devices holds, and is no error', () => {
  const { mount, controllers } = withController('cpu');
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

test('the memory above a container is that of the least of the cgroups above, and not its own', () => {
  const { mount, controllers } = withController('memory');
  const file = controllers === undefined ? 'memory.max' : 'memory.limit_in_bytes';
  const name = `/tsvm-above-${process.pid}`;
  const [pod = '', inner = '', own = ''] = ['', '/inner', '/inner/own'].map((path) => join(mount, name + path));
  const above = () => memoryAbove(`${name}/inner/own`);
  // Cgroups that are to be made.
  const most = above();
  try {
    for (const path of [pod, inner, own]) {
      mkdirSync(path);
      if (controllers === undefined) writeFileSync(join(path, '..', 'cgroup.subtree_control'), '+memory');
    }
    expect(above()).toBe(most);
    writeFileSync(join(own, file), String(2 ** 26));
    expect(above()).toBe(most);
    writeFileSync(join(inner, file), String(2 ** 29));
    expect(above()).toBe(2 ** 29);
    writeFileSync(join(pod, file), String(2 ** 28));
    expect(above()).toBe(2 ** 28);
  } finally {
    for (const path of [own, inner, pod]) rmdirSync(path);
  }
});
