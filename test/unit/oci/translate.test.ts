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
      capabilitySets: { permitted: [], effective: [], inheritable: [], ambient: [] },
      rlimits: [{ name: 'nofile', soft: 5, hard: 'unlimited' }],
      noNewPrivileges: true,
    });
  });

  test('has the ambient capabilities that the kernel can grant', () => {
    const set = ['CAP_CHOWN', 'CAP_KILL'];
    const ambient = [...set, 'CAP_FOWNER'];
    const given = (more: object) => translated({}, { capabilities: { bounding: set, ambient, ...more } }).process;
    expect(given({ permitted: set }).capabilitySets).toMatchObject({ ambient: [] });
    expect(given({ permitted: set, inheritable: ['CAP_KILL'] }).capabilitySets).toMatchObject({ ambient: ['KILL'] });
  });

  test('has its mounts: shares, tmpfs, and those that each container has', () => {
    const mounts = [
      { destination: '/proc', type: 'proc' },
      { destination: '/dev/shm', type: 'tmpfs', options: ['nosuid', 'size=65536k'] },
      { destination: '/scratch/', type: 'tmpfs', options: ['noexec', 'mode=755', 'size=1m', 'uid=3'] },
      { destination: '/etc/hosts', type: 'bind', source: '/h', options: ['rbind', 'ro'] },
      { destination: '/data', source: 'd', options: ['bind'] },
    ];
    const { shares, shm, container } = translated({ mounts });
    expect(shm).toMatchObject({ size: 65536 * 1024, suid: false, dev: true });
    expect(shares.slice(1)).toEqual([
      { path: '/h', readOnly: true },
      { path: '/bundle/d', readOnly: false },
    ]);
    expect(container).toMatchObject({
      tmpfs: [{ path: '/scratch', size: 2 ** 20, mode: 0o755, uid: 3, exec: false, suid: true, dev: true }],
      shares: [
        { index: 1, path: '/etc/hosts', readonly: true },
        { index: 2, path: '/data', readonly: false },
      ],
    });
  });

  test('the later of what is at /dev/shm counts: a tmpfs, or a folder of the host that is not shared', () => {
    const own = { destination: '/dev/shm', type: 'tmpfs', options: ['size=1m'] };
    const bound = { destination: '/dev/shm/', type: 'bind', source: 'shm', options: ['rbind'] };
    expect(translated({ mounts: [own, bound] })).toMatchObject({ shm: '/bundle/shm', shares: [{}] });
    expect(translated({ mounts: [bound, own] }).shm).toMatchObject({ path: '/dev/shm', size: 2 ** 20 });
    expect(translated({}).shm).toBeUndefined();
  });

  test('of options of a mount that contradict each other, the last one counts', () => {
    const mounts = [
      { destination: '/a', type: 'bind', source: '/h', options: ['ro', 'rw'] },
      { destination: '/b', type: 'bind', source: '/h', options: ['rw', 'rro'] },
      { destination: '/c', type: 'tmpfs', options: ['ro', 'noexec', 'nosuid', 'nodev', 'rw', 'exec', 'suid', 'dev'] },
      { destination: '/d', type: 'tmpfs', options: ['rw', 'exec', 'noexec', 'rro', 'tmpcopyup'] },
      { destination: '/e', type: 'bind', source: '/h', options: ['noexec', 'nosuid', 'exec'] },
    ];
    const { shares, container } = translated({ mounts });
    expect(shares.slice(1).map(({ readOnly }) => readOnly)).toEqual([false, true, false]);
    expect(container).toMatchObject({
      shares: [{ readonly: false }, { readonly: true }, { readonly: false, noexec: false, nosuid: true }],
      tmpfs: [
        { path: '/c', readonly: false, exec: true, suid: true, dev: true },
        { path: '/d', readonly: true, exec: false, suid: true, dev: true, copyUp: true },
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
    [{ linux: { namespaces, uidMappings: [{}] } }, 'user namespaces are not supported'],
    [{ mounts: [{ destination: '/x', type: 'overlay' }] }, 'mount /x: type overlay is not supported'],
    [
      { mounts: [{ destination: '/x', source: '/', options: ['bind', 'tmpcopyup'] }] },
      'mount /x: tmpcopyup is not supported',
    ],
    [{ mounts: [{ destination: '/x', type: 'tmpfs', options: ['size=1e3'] }] }, 'mount /x: size 1e3 is not understood'],
  ])('%j is refused', (more, message) => {
    expect(() => translated(more)).toThrow(message);
  });

  const linux = (more: object) => ({ linux: { namespaces, ...more } });
  const resources = (more: object) => linux({ resources: more });
  const mounted = (...options: string[]) => ({ mounts: [{ destination: '/x', type: 'bind', source: '/y', options }] });
  const processed = (more: object) => ({
    process: { user: { uid: 0, gid: 0 }, args: ['true'], cwd: '/', ...more },
  });

  test.each<[object, string | RegExp]>([
    [linux({ namespaces: [...namespaces, { type: 'ipc' }] }), /namespaces: a type is given twice$/],
    [linux({ namespaces: [...namespaces, { type: 'user' }] }), 'user namespaces are not supported'],
    [linux({ namespaces: [...namespaces, { type: 'time' }] }), 'time namespaces are not supported'],
    [joined('mount'), "joining another container's mount namespace is not supported"],
    [linux({ gidMappings: [{}] }), 'user namespaces are not supported'],
    [linux({ devices: [{ path: '/dev/null' }, { path: '/dev/fuse' }] }), 'device /dev/fuse is not supported'],
    [linux({ maskedPaths: ['/etc/x'] }), 'maskedPaths: /etc/x is not supported: only paths of /proc and /sys are'],
    [linux({ readonlyPaths: ['/proc/../x'] }), /^readonlyPaths: \/proc\/\.\.\/x is not supported/],
    [linux({ maskedPaths: ['x'] }), /^config\.json: linux\.maskedPaths\.0: /],
    [linux({ rootfsPropagation: 'rshared' }), 'rootfsPropagation: shared is not supported'],
    [linux({ personality: { domain: 'LINUX32' } }), 'personality LINUX32 is not supported'],
    [linux({ intelRdt: {} }), 'config.json: linux.intelRdt: is not supported'],
    [linux({ timeOffsets: {} }), 'config.json: linux.timeOffsets: is not supported'],
    [linux({ sysctl: { '../x': '1' } }), /sysctl/],
    [linux({ seccomp: { defaultAction: 'SCMP_ACT_NOTIFY' } }), /^seccomp profile: defaultAction: "SCMP_ACT_NOTIFY"/],
    [linux({ seccomp: { listenerPath: '/x' } }), 'seccomp: a listener is not supported'],
    [resources({ memory: { disableOOMKiller: true } }), 'resources.memory.disableOOMKiller is not supported'],
    [resources({ cpu: { cpus: '0-1' } }), 'resources.cpu.cpus is not supported'],
    [resources({ cpu: { realtimeRuntime: 5 } }), 'resources.cpu.realtimeRuntime is not supported'],
    [resources({ blockIO: { throttleReadBpsDevice: [{}] } }), /^resources\.blockIO\.throttleReadBpsDevice is not/],
    [resources({ network: { classID: 1 } }), 'resources.network.classID is not supported'],
    [resources({ rdma: { mlx: {} } }), 'resources.rdma is not supported'],
    [resources({ unified: { 'memory.high': '1' } }), 'resources.unified is not supported'],
    [{ domainname: 'x' }, 'config.json: domainname: is not supported'],
    [{ ociVersion: '1.0' }, 'config.json: ociVersion: is not 1.x'],
    [{ annotations: { '': 'x' } }, /^config\.json: annotations/],
    [mounted('bind', 'rshared'), 'mount /x: rshared is not supported'],
    [mounted('bind', 'idmap'), 'mount /x: idmap is not supported'],
    [{ mounts: [{ destination: '/x', type: 'tmpfs', options: ['mode=9'] }] }, 'mount /x: mode=9 is not understood'],
    [{ mounts: [{ destination: '/x', type: 'tmpfs', options: ['nr_inodes=9'] }] }, /nr_inodes=9 is not supported$/],
    [processed({ ioPriority: { class: 'x' } }), 'config.json: process.ioPriority: is not supported'],
    [processed({ scheduler: { policy: 'x' } }), 'config.json: process.scheduler: is not supported'],
    [processed({ rlimits: [{ type: 'RLIMIT_X', soft: 1, hard: 1 }] }), 'unknown resource limit RLIMIT_X'],
    [processed({ rlimits: [{ type: 'RLIMIT_CPU', soft: 2, hard: 1 }] }), /the soft limit is above the hard limit$/],
    [
      processed({ rlimits: [1, 2].map((soft) => ({ type: 'RLIMIT_CPU', soft, hard: 3 })) }),
      /rlimits: a type is given twice$/,
    ],
  ])('%j is refused in one line', (more, message) => {
    expect(() => translated(more)).toThrow(message);
  });

  test('may have what changes nothing in a machine, and what is unknown', () => {
    const more = {
      ...linux({
        devices: [{ path: '/dev/null', type: 'c', major: 1, minor: 3 }],
        maskedPaths: ['/proc/kcore', '/sys/firmware'],
        readonlyPaths: ['/proc/bus'],
        rootfsPropagation: 'rslave',
        mountLabel: 'x',
        cgroupsPath: '/x',
        ofTomorrow: {},
        resources: {
          devices: [{ allow: false, access: 'rwm' }],
          memory: { limit: 2 ** 26, swap: 2 ** 27, reservation: 5, swappiness: 3 },
          cpu: { shares: 2, quota: -1 },
          blockIO: { weight: 10 },
          hugepageLimits: [{ pageSize: '2MB', limit: 0 }],
          unified: {},
        },
      }),
      ...mounted('rbind', 'rprivate', 'nosuid', 'nodev', 'rro'),
      ...processed({ apparmorProfile: 'x', selinuxLabel: 'x', oomScoreAdj: 100 }),
      annotations: null,
      ofTomorrow: true,
    };
    expect(translated(more)).toMatchObject({
      shares: [{}, { path: '/y', readOnly: true }],
      container: { limits: { memory: 2 ** 26 }, sysctls: [] },
      seccomp: undefined,
    });
  });

  test('has its kernel parameters and its filter of system calls', () => {
    const profile = {
      defaultAction: 'SCMP_ACT_ALLOW',
      architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'],
      syscalls: [{ names: ['mkdir'], action: 'SCMP_ACT_ERRNO', errnoRet: 42 }],
    };
    const given = translated(linux({ sysctl: { 'net.ipv4.ip_forward': '1' }, seccomp: profile }));
    expect(given.container.sysctls).toEqual([{ path: 'net/ipv4/ip_forward', value: '1' }]);
    expect(given.seccomp).toMatchObject({ syscalls: [{ names: ['mkdir'], errnoRet: 42 }] });
  });

  test('joins the network namespace that it names', () => {
    expect(translated(joined('network')).network).toBe('/proc/9/ns/x');
    expect(translated(joined('network')).joined).toEqual({});
    expect(translated(joined('pid'))).toMatchObject({ joined: {}, processesOf: '/proc/9/ns/x' });
    for (const type of ['ipc', 'uts']) expect(translated(joined(type)).joined).toEqual({ [type]: '/proc/9/ns/x' });
    expect(translated().network).toBeUndefined();
  });
});

test('errors have the words that engines look for, in one line', () => {
  expect(engineText(new Error('exec: "/x": No such file or directory'))).toBe('exec: "/x": no such file or directory');
  expect(engineText(new Error('a\nb: Permission denied'))).toBe('a b: permission denied');
});
