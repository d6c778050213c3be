// The code of the machine process calls the C library and Node.js only for system calls that its filter allows,
// except where it runs before the filter is taken. A new call must be allowed (accel/system-calls.ts), or named here.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { SYSCALLS } from '../../../../seccomp/syscalls.js';
import { type FilteredMachine, processProfile } from '../../../../vmm/accel/system-calls.js';

const vmm = fileURLToPath(new URL('../../../../vmm/', import.meta.url));
const ROOMS = ['devices', 'virtio', 'host', 'process', 'accel', 'kvm'];
const LIBC = 'host/libc.ts';

const everything: FilteredMachine = {
  ...{
    hasShares: true,
    slot: 9,
    firstKept: 64,
    hasBudget: true,
    hasNetwork: true,
    hasRelay: true,
    canSwitchUser: true,
  },
  isEmulated: true,
};
const allowed = new Set(
  [everything, { ...everything, isEmulated: false }].flatMap((machine) =>
    (processProfile(machine, 'kill').syscalls ?? [])
      .filter(({ action }) => action === 'SCMP_ACT_ALLOW')
      .flatMap(({ names }) => names),
  ),
);

/** The system call of a function of host/libc.ts that has another name. None: it makes no call. */
const CALLS: Record<string, string | undefined> = {
  ...{ check: undefined, errno: undefined, viewMemory: undefined, unixAddress: undefined, SystemError: undefined },
  ...{ preadv: 'preadv2', readv: 'preadv2', pwritev: 'pwritev2', writev: 'pwritev2', _exit: 'exit_group' },
  ...{
    ioctlPointer: 'ioctl',
    setNonBlocking: 'ioctl',
    isUnread: 'ioctl',
    signalEventFd: 'write',
    drainEventFd: 'read',
  },
  ...{ createEventFd: 'eventfd2', createPipe: 'pipe2', fileStatus: 'fstat', now: 'clock_gettime' },
  ...{
    fcntlPointer: 'fcntl',
    lockForReading: 'fcntl',
    signal: 'rt_sigaction',
    pthread_sigmask: 'rt_sigprocmask',
    signalfd: 'signalfd4',
  },
};

/** What runs before the filter is taken, or never in a machine process, and why. */
const BEFORE: Record<string, string> = {
  'accel/kvm/kick.ts createPipe': 'made with the filter, while threads are paused',
  'accel/kvm/kick.ts fcntl': 'likewise',
  'accel/kvm/kick.ts fcntlPointer': 'likewise',
  'accel/kvm/kick.ts pthread_sigmask': 'at the start of the thread',
  'accel/kvm/kick.ts signal': 'likewise',
  'accel/kvm/kick.ts signalfd': 'likewise',
  'accel/kvm/machine.ts createEventFd': 'the machine is built',
  'accel/kvm/vcpu-threads.ts createEventFd': 'likewise',
  'accel/kvm/vcpu-worker.ts gettid': 'at the start of the thread',
  'devices/blk/disk.ts lockForReading': 'the disk is opened',
  'devices/blk/disk.ts fstatSync': 'likewise',
  'devices/fs/host.ts syscall': 'see the next test',
  'devices/fs/server.ts getegid': 'the device is made',
  'devices/fs/server.ts geteuid': 'likewise',
  'devices/vsock/host-sockets.ts unlinkSync': 'the device is disposed of, in tests',
  'host/companion.ts fcntl': 'the machine is built',
  'host/event-loop.ts epoll_create1': 'the process starts',
  'host/fixed-arguments.ts fcntl': 'the file server is made',
  'host/fixed-arguments.ts memfd_create': 'likewise',
  'host/files.ts bind': 'a program that is its own owner',
  'host/files.ts connect': 'likewise',
  'host/files.ts fcntl': 'the machine opens what its owner sent',
  'host/files.ts listen': 'a program that is its own owner',
  'host/files.ts open': 'likewise',
  'host/files.ts socket': 'likewise',
  'host/inherited-files.ts fstatSync': 'the process starts',
  'host/kept-descriptors.ts fcntl': 'the machine opens what its owner sent',
  'host/kept-descriptors.ts getrlimit': 'the machine is built',
  'host/kept-descriptors.ts setrlimit': 'likewise',
  'host/log.ts hostname': 'the machine is built',
  'host/memory.ts fcntl': 'guest memory is made',
  'host/memory.ts memfd_create': 'likewise',
  'host/random.ts open': 'the program is loaded',
  'host/seccomp.ts syscall': 'takes the filter',
  'kvm/kvm.ts open': 'a program that is its own owner',
  'process/file-sizes.ts setrlimit': 'the machine is built',
  'process/harden.ts setrlimit': 'the process starts',
  'process/harden.ts signal': 'likewise',
  'process/harden.ts umask': 'likewise',
  'process/state-file.ts readFileSync': 'the machine opens what its owner sent',
};

const files = ROOMS.flatMap((room) =>
  readdirSync(`${vmm}${room}`, { recursive: true }).map((path) => `${room}/${path}`),
).filter((path) => path.endsWith('.ts') && path !== LIBC);

/** Names that the pattern's group finds in a file. */
function found(path: string, pattern: RegExp): string[] {
  const code = readFileSync(vmm + path, 'utf8').replace(/^\s*(\/\/|\*|\/\*\*).*$/gm, '');
  return [...code.matchAll(pattern)].map(([, name = '']) => name);
}

test('every call of the C library is allowed by the filter, or made before it', () => {
  const used = files.flatMap((path) =>
    found(path, /\blibc\.([a-z_]\w*|SystemError)\(/g)
      .filter((name) => {
        const call = name in CALLS ? CALLS[name] : name;
        if (call !== undefined) expect(SYSCALLS.has(call) || name === 'syscall', `${path}: ${name}`).toBe(true);
        return call !== undefined && !allowed.has(call);
      })
      .map((name) => `${path} ${name}`),
  );
  // Functions of Node.js that make system calls. It closes a descriptor by close(2).
  const node = files.flatMap((path) =>
    found(path, /\b(\w+Sync|hostname|geteuid!?|getegid!?|umask|randomBytes|memoryUsage|cpuUsage|hrtime)\(/g)
      .map((name) => name.replace('!', ''))
      .filter((name) => name !== 'closeSync')
      .map((name) => `${path} ${name}`),
  );
  expect([...new Set([...used, ...node])].sort()).toEqual(Object.keys(BEFORE).sort());
});

test('every system call that is made by number is allowed by the filter, or made before it', () => {
  const numbered = files.flatMap((path) => {
    const names = found(path, /\bconst SYS_(\w+) = \d+;/g).map((name) => name.toLowerCase());
    const numbers = found(path, /\bconst SYS_\w+ = (\d+);/g).map(Number);
    expect(names.map((name) => SYSCALLS.get(name))).toEqual(numbers);
    return names.map((name) => `${path} ${name}`);
  });
  expect(numbered.length).toBeGreaterThan(20);
  const others = numbered.filter((each) => !allowed.has(each.split(' ')[1] ?? ''));
  // The limits of the file server, and the filter.
  expect(others).toEqual(['devices/fs/server.ts prlimit64', 'host/seccomp.ts seccomp']);
});

test('no code of the machine process uses what Node.js loads or starts when it is first used', () => {
  const lazy =
    /\b(setTimeout|setInterval|setImmediate|fetch|process\.(?:std\w+|on|emitWarning|report|exit)|console)[.(]/g;
  const uses = files.flatMap((path) => found(path, lazy).map((name) => `${path} ${name}`));
  expect(uses).toEqual([]);
});
