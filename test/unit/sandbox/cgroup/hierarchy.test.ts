// Where cgroup v2 is, and which folders are above two cgroups.
import { expect, test } from 'vitest';
import { cgroupInHierarchy, cgroupMount, commonAncestor, foldersTo } from '../../../../sandbox/cgroup/hierarchy.js';

const UNIFIED = '31 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate';
const HYBRID = `32 31 0:27 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory
33 31 0:28 / /sys/fs/cgroup/unified rw shared:11 - cgroup2 none rw`;

test('the mount of cgroup v2 is found beside mounts of cgroup v1', () => {
  expect(cgroupMount(UNIFIED)).toBe('/sys/fs/cgroup');
  expect(cgroupMount(HYBRID)).toBe('/sys/fs/cgroup/unified');
  expect(cgroupMount(HYBRID.replace(/\n.*/, ''))).toBeUndefined();
  expect(cgroupMount('')).toBeUndefined();
});

test('a mount point has its own name, whatever proc writes for it', () => {
  expect(cgroupMount('31 24 0:26 / /mnt/a\\040b\\134c rw - cgroup2 none rw')).toBe('/mnt/a b\\c');
});

test('a mount of another type that looks like one is none', () => {
  expect(cgroupMount('31 24 0:26 / /cgroup2 rw - tmpfs cgroup2 rw')).toBeUndefined();
});

test("a process's cgroup is that of the hierarchy without a number", () => {
  expect(cgroupInHierarchy('12:pids:/v1\n0::/user.slice/a.scope\n')).toBe('/user.slice/a.scope');
  expect(cgroupInHierarchy('0::/gone (deleted)\n')).toBe('/gone');
  expect(cgroupInHierarchy('12:pids:/v1\n')).toBeUndefined();
});

test('a cgroup outside the namespace of cgroups is not known', () => {
  expect(cgroupInHierarchy('0::/../other\n')).toBeUndefined();
});

test('the folders to a cgroup begin with the mount', () => {
  expect(foldersTo('/sys/fs/cgroup/a/b', '/sys/fs/cgroup')).toEqual([
    '/sys/fs/cgroup',
    '/sys/fs/cgroup/a',
    '/sys/fs/cgroup/a/b',
  ]);
  expect(foldersTo('/sys/fs/cgroup', '/sys/fs/cgroup')).toEqual(['/sys/fs/cgroup']);
});

test.each([
  ['/c/a/b', '/c/a/d', '/c/a'],
  ['/c/a', '/c/a/b', '/c/a'],
  ['/c/a/b', '/c/a', '/c/a'],
  ['/c/ab', '/c/a', '/c'],
  ['/c/..a', '/c/..b', '/c'],
  ['/c/a', '/c/a', '/c/a'],
])('the nearest folder above %s and %s is %s', (one, other, above) => {
  expect(commonAncestor(one, other)).toBe(above);
});
