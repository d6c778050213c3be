// Proves what an OCI configuration means for the machine, and what is refused.
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../../oci/config/config.js';
import { engineText, NO_HOST_NETWORK } from '../../../oci/config/oci-error.js';
import { translate } from '../../../oci/config/translate.js';

const namespaces = ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type }));

function config(more: object = {}, process: object = {}) {
  return parseConfig({
    ociVersion: '1.0.2',
    root: { path: 'rootfs' },
    process: { user: { uid: 0, gid: 0 }, args: ['true'], cwd: '/', ...process },
    linux: { namespaces },
    ...more,
  });
}

const translated = (more: object = {}, process: object = {}) => translate(config(more, process), '/bundle');

describe('a configuration', () => {
  test.each([
    [{ ociVersion: '2.0.0' }, 'config.json: ociVersion: is not 1.x'],
    [{ root: {} }, /^config\.json: root\.path: /],
    [{ process: { args: [], cwd: '/', user: { uid: 0, gid: 0 } } }, /^config\.json: process\.args: /],
    [{ process: { args: ['a'], cwd: 'x', user: { uid: 0, gid: 0 } } }, /^config\.json: process\.cwd: /],
    [{ process: { args: ['a'], cwd: '/', user: { uid: 2 ** 32 - 1, gid: 0 } } }, /^config\.json: process\.user\.uid: /],
  ])('%j is refused by its field', (more, message) => {
    expect(() => config(more)).toThrow(message);
  });

  test('has a root relative to its bundle, or an absolute one', () => {
    expect(translated().shares).toEqual([{ path: '/bundle/rootfs', readOnly: false }]);
    const { shares, container } = translated({ root: { path: '/r', readonly: true } });
    expect(shares).toEqual([{ path: '/r', readOnly: false }]);
    expect(container.root).toEqual({ share: 0, readonly: true });
  });

  test('has exactly the process that it says', () => {
    const { process } = translated(
      {},
      {
        user: { uid: 7, gid: 8, umask: 0o77, additionalGids: [9, 4_294_967_294] },
        env: ['A=1'],
        capabilities: { bounding: ['CAP_KILL', 'CAP_OF_TOMORROW'], ambient: ['CAP_CHOWN'] },
        rlimits: [{ type: 'RLIMIT_NOFILE', soft: 5, hard: 2 ** 64 - 1 }],
        noNewPrivileges: true,
      },
    );
    expect(process).toMatchObject({
      ...{ exact: true, user: '7:8', groups: ['9', '4294967294'], umask: 0o77, env: ['A=1'], stdin: true },
      capabilities: ['KILL'],
      capabilitySets: { permitted: [], effective: [], inheritable: [], ambient: ['CHOWN'] },
      rlimits: [{ name: 'nofile', soft: 5, hard: 'unlimited' }],
      noNewPrivileges: true,
    });
  });

  test('has its mounts: shares, tmpfs, and those that each container has', () => {
    const mounts = [
      { destination: '/proc', type: 'proc' },
      { destination: '/dev/shm', type: 'tmpfs', options: ['nosuid', 'size=65536k'] },
      { destination: '/scratch/', type: 'tmpfs', options: ['noexec', 'mode=755', 'size=1m', 'uid=3'] },
      { destination: '/etc/hosts', type: 'bind', source: '/h', options: ['rbind', 'ro'] },
      { destination: '/data', source: 'd', options: ['bind'] },
    ];
    const { shares, container } = translated({ mounts });
    expect(shares.slice(1)).toEqual([
      { path: '/h', readOnly: true },
      { path: '/bundle/d', readOnly: false },
    ]);
    expect(container).toMatchObject({
      shmSize: 65536 * 1024,
      tmpfs: [{ path: '/scratch', size: 2 ** 20, mode: 0o755, uid: 3, exec: false, suid: true, dev: true }],
      shares: [
        { index: 1, path: '/etc/hosts', readonly: true },
        { index: 2, path: '/data', readonly: false },
      ],
    });
  });

  const without = (type: string) => ({ linux: { namespaces: namespaces.filter((each) => each.type !== type) } });
  const joined = (type: string) => ({
    linux: { namespaces: [...without(type).linux.namespaces, { type, path: '/proc/9/ns/x' }] },
  });

  test.each([
    [without('network'), NO_HOST_NETWORK],
    [without('pid'), "the host's pid namespace is not supported"],
    [joined('ipc'), "joining another container's ipc namespace is not supported"],
    [{ linux: { namespaces, uidMappings: [{}] } }, 'user namespaces are not supported'],
    [{ hooks: { prestart: [{ path: '/x' }] } }, 'hooks (prestart) are not supported'],
    [{ mounts: [{ destination: '/x', type: 'overlay' }] }, 'mount /x: type overlay is not supported'],
    [
      { mounts: [{ destination: '/x', type: 'tmpfs', options: ['tmpcopyup'] }] },
      'mount /x: tmpcopyup is not supported',
    ],
    [{ mounts: [{ destination: '/x', type: 'tmpfs', options: ['size=1e3'] }] }, 'mount /x: size 1e3 is not understood'],
  ])('%j is refused', (more, message) => {
    expect(() => translated(more)).toThrow(message);
  });

  test('joins the network namespace that it names', () => {
    expect(translated(joined('network')).network).toBe('/proc/9/ns/x');
    expect(translated().network).toBeUndefined();
  });
});

test('errors have the words that engines look for, in one line', () => {
  expect(engineText(new Error('exec: "/x": No such file or directory'))).toBe('exec: "/x": no such file or directory');
  expect(engineText(new Error('a\nb: Permission denied'))).toBe('a b: permission denied');
});
