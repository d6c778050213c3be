// A host that is set up badly gets one clear line from `tsvm doctor`, and one about what to do.
// Namespaces of the test's own, and filters of system calls, stand in for such hosts.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));
const REFUSE = fileURLToPath(new URL('../jail/refuse.c', import.meta.url));
const USER = 12345;

/** Mounts a fresh hierarchy of cgroup v2, in which a folder of this test's own can be made. */
const HIERARCHY = `
  umount -lR /sys/fs/cgroup 2> /dev/null
  mount -t cgroup2 none /sys/fs/cgroup
  base=tsvm-test-$$; own=/sys/fs/cgroup/$base
  trap 'cd /; rmdir "$own" 2> /dev/null' EXIT
`;
const NO_CONTROLLERS = `${HIERARCHY} touch "$FOLDER/none"; mount --bind "$FOLDER/none" /sys/fs/cgroup/cgroup.controllers\n`;
const UNIFIED = 'boot the host with cgroup v2 alone: systemd.unified_cgroup_hierarchy=1';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-bad-host-');
  chmodSync(folder, 0o755);
  execFileSync('gcc', ['-std=gnu11', '-D_GNU_SOURCE', '-static', '-o', join(folder, 'refuse'), REFUSE]);
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Check {
  verdict: string;
  found: string;
  advice?: string;
}

/** Runs `doctor`, a function of the script, in namespaces of its own. Returns what it says. */
function doctor(script: string): { cgroup: Check; jail: Check } {
  const doctorOf = `doctor() { "$@" "$TSVM" doctor --format json; true; }`;
  const text = execFileSync(
    'unshare',
    ['--mount', '--propagation', 'private', 'bash', '-c', `${doctorOf}\n${script}`],
    {
      encoding: 'utf8',
      env: { ...process.env, TSVM, FOLDER: folder, TSVM_HOME: join(folder, 'home'), XDG_RUNTIME_DIR: '' },
    },
  );
  return JSON.parse(text);
}

const asUser = (words: string) =>
  `doctor env HOME=/nonexistent TSVM_HOME=/tmp/none setpriv --reuid ${USER} --regid ${USER} --clear-groups ${words}`;

describe('of cgroups', () => {
  test.each<[string, string, string | RegExp, string | RegExp]>([
    ['there is cgroup v1 only', 'umount -lR /sys/fs/cgroup; doctor', 'cgroup v2 is not mounted', UNIFIED],
    [
      'cgroup v2 has no controllers',
      `${NO_CONTROLLERS} doctor`,
      'cgroup v2 lacks the controllers memory, cpu, pids',
      UNIFIED,
    ],
    [
      'the folder that is asked for is missing',
      `${HIERARCHY} doctor env TSVM_CGROUP_PARENT=/no-such`,
      'cgroup parent /no-such: there is no such folder: make it, or name another',
      'containers will not start',
    ],
    [
      'it is no name of a folder',
      `${HIERARCHY} doctor env TSVM_CGROUP_PARENT=/a/../b`,
      'invalid cgroup parent "/a/../b": use a folder of cgroup v2',
      'containers will not start',
    ],
    [
      'it has a link on its way',
      `${HIERARCHY} umount /sys/fs/cgroup; mkdir -p "$FOLDER/cg"; mount -t tmpfs t /sys/fs/cgroup; mkdir /sys/fs/cgroup/c; mount -t cgroup2 none /sys/fs/cgroup/c; ln -s c /sys/fs/cgroup/l; doctor env TSVM_CGROUP_PARENT=/sys/fs/cgroup/l`,
      /^cgroup parent \/sys\/fs\/cgroup\/l: (there is no such folder: make it, or name another|a link is on the way: name the folder itself)$/,
      'containers will not start',
    ],
    [
      'it is a file',
      `${HIERARCHY} doctor env TSVM_CGROUP_PARENT=/cgroup.procs`,
      'cgroup parent /cgroup.procs: it is no folder',
      'containers will not start',
    ],
    [
      'it belongs to another user',
      `${HIERARCHY} mkdir "$own"; chown ${USER} "$own"; doctor env TSVM_CGROUP_PARENT="/$base"`,
      /^cgroup parent \/tsvm-test-\d+: \/sys\/fs\/cgroup\/tsvm-test-\d+ belongs to user 12345: use a folder of user 0$/,
      'containers will not start',
    ],
    [
      'it has no controllers',
      `${HIERARCHY} mkdir "$own"; touch "$FOLDER/none"; mount --bind "$FOLDER/none" "$own/cgroup.controllers"; doctor env TSVM_CGROUP_PARENT="/$base"; umount "$own/cgroup.controllers"`,
      /^cgroup parent \/tsvm-test-\d+: it lacks the controllers memory, cpu, pids: enable them in the cgroup.subtree_control above it$/,
      'containers will not start',
    ],
    [
      'the hierarchy is read-only',
      `${HIERARCHY} mkdir "$own"; mount -o remount,ro,bind /sys/fs/cgroup; doctor env TSVM_CGROUP_PARENT="/$base"; mount -o remount,rw,bind /sys/fs/cgroup`,
      /^cgroup parent \/tsvm-test-\d+: it cannot be written: mount cgroup v2 for writing$/,
      'containers will not start',
    ],
    [
      'a user was given no folder',
      `${HIERARCHY} mkdir "$own"; export TSVM_CGROUP_PARENT="/$base"; ${asUser('')}`,
      /^cgroup parent \/tsvm-test-\d+: it is not delegated to user 12345: have root run: chown 12345 \/sys\/fs\/cgroup\/tsvm-test-\d+$/,
      'containers will not start',
    ],
    [
      'a user has no systemd',
      `${HIERARCHY} echo memory cpu pids > "$FOLDER/all"; chmod a+r "$FOLDER/all"; mount --bind "$FOLDER/all" /sys/fs/cgroup/cgroup.controllers; ${asUser('')}`,
      'user 12345 has no systemd and no delegated cgroup',
      'give machines a folder of their own: docs/limits.md, --cgroup-parent',
    ],
  ])('%s', (_, script, found, advice) => {
    const { cgroup } = doctor(script);
    expect(cgroup.verdict).toBe('warning');
    const line = cgroup.found.replace(/^machines are not bounded: /, '');
    if (typeof found === 'string') expect(line).toBe(found);
    else expect(line).toMatch(found);
    expect(cgroup.advice).toBe(advice);
  });
});

describe('of the jail', () => {
  const NAMESPACES =
    'for all of it, allow user namespaces (Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0), or run as root';
  const USERS = 'until then machines run as root: docs/isolation.md, users';
  test.each<[string, string, RegExp, string]>([
    [
      'a kernel without landlock',
      'doctor "$FOLDER/refuse" landlock',
      /user: its own \(no landlock\): .*: Operation not permitted$/,
      NAMESPACES,
    ],
    [
      'no namespaces',
      'doctor "$FOLDER/refuse" namespaces',
      /^files: landlock, .*user: its own \(landlock \d+\): namespaces: Operation not permitted$/,
      NAMESPACES,
    ],
    [
      'no user namespaces',
      asUser('"$FOLDER/refuse" namespaces'),
      /^files: landlock, .*user: yours \(landlock \d+\): user namespaces: Operation not permitted$/,
      NAMESPACES,
    ],
    [
      'no range of users',
      'doctor env TSVM_UIDS=0:1',
      /user: root .*: TSVM_UIDS is "0:1": use FIRST:COUNT, user IDs that no other user has$/,
      USERS,
    ],
    [
      'a range with a user of the host',
      'doctor env TSVM_UIDS=1:10',
      /user: root .*: user \d+ is \w+: set TSVM_UIDS to FIRST:COUNT, user IDs that no other user has$/,
      USERS,
    ],
    [
      'a range in /etc/subuid that is none',
      'echo tsvm:x:1 > "$FOLDER/subuid"; mount --bind "$FOLDER/subuid" /etc/subuid; doctor',
      /user: root .*: \/etc\/subuid, user tsvm is "x:1": use FIRST:COUNT/,
      USERS,
    ],
    [
      'no place for the locks of users',
      'mount -t tmpfs -o ro none /run; doctor',
      /user: root .*: \/run\/tsvm: Read-only file system$/,
      USERS,
    ],
  ])('%s', (_, script, found, advice) => {
    const { jail } = doctor(script);
    expect(jail).toEqual({ verdict: 'warning', found: expect.stringMatching(found), advice });
  });
});
