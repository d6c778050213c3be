// Levels without a runtime: a chroot, and the namespaces that unshare(1) makes.
import { findProgram } from '../../programs/index.js';
import { environmentOf, FOLDER, type Level, type PreparedLevel } from '../level.js';
import { type HeldMounts, holdMounts, isRoot } from './mounts.js';
import { versionOf } from './version.js';

/** The device files of a level with namespaces. */
const DEVICES = ['null', 'zero', 'full', 'random', 'urandom', 'tty'];

/** The mounts of both levels. $1 is the root, $2 the devices, all of them if empty, $3 the folder. */
const MOUNTS = `mount --rbind "$1" "$1"
cd "$1"
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --bind "$3" ".${FOLDER}"
if [ -n "$2" ]; then
  mount -t tmpfs -o mode=755 tmpfs dev
  for name in $2; do : > "dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
else
  mount --rbind /dev dev
  mount --rbind /proc proc
  mount --rbind /sys sys
fi
mount -o remount,bind,ro "$1"`;

function level(
  { name, summary, devices }: { name: string; summary: string; devices: string },
  commands: (
    mounts: HeldMounts,
    rootfs: string,
  ) => Pick<PreparedLevel, 'start' | 'exec'> & Required<Pick<PreparedLevel, 'connect'>>,
): Level {
  return {
    name,
    summary,
    missing() {
      const program = ['unshare', 'nsenter', 'mount', 'chroot'].find((each) => findProgram(each) === undefined);
      if (program === undefined) return undefined;
      return { reason: `${program} is not installed`, advice: 'apt-get install util-linux coreutils' };
    },
    async prepare({ rootfs, config, shared }, signal) {
      const version = await versionOf('unshare', signal);
      const mounts = await holdMounts(signal, MOUNTS, rootfs, devices, shared);
      const { start, connect, exec } = commands(mounts, rootfs);
      const env = environmentOf(config);
      return {
        version,
        limitsMemory: false,
        places: [],
        start: (...given) => ({ ...start(...given), env }),
        connect: (...given) => ({ ...connect(...given), env }),
        exec: (...given) => ({ ...exec(...given), env }),
        [Symbol.asyncDispose]: () => mounts[Symbol.asyncDispose](),
      };
    },
  };
}

export const processLevel: Level = level(
  { name: 'process', summary: 'a chroot: no wall to the host', devices: '' },
  (mounts, rootfs) => {
    const words = (command: readonly string[]) => ({
      words: [...mounts.enter(), findProgram('chroot') ?? 'chroot', rootfs, ...command] as const,
      env: {},
    });
    return {
      start: (_id, command) => words(command),
      connect: (_id, command, { enterHost }) => ({ words: [...enterHost, ...words(command).words], env: {} }),
      exec: (_id, _pid, command) => words(command),
    };
  },
);

export const namespaces: Level = level(
  { name: 'namespaces', summary: 'namespaces without a runtime: unshare(1)', devices: DEVICES.join(' ') },
  (mounts, rootfs) => {
    const unshare = findProgram('unshare') ?? 'unshare';
    const nsenter = findProgram('nsenter') ?? 'nsenter';
    // An ordinary user's mounts are in a user namespace already.
    const user = isRoot() ? ['--user', '--map-root-user'] : [];
    const options = ['--pid', '--fork', '--kill-child', '--ipc', '--uts', '--mount', '--mount-proc'];
    const entered = [
      '--user',
      '--preserve-credentials',
      '--mount',
      '--pid',
      '--net',
      '--ipc',
      '--uts',
      '--root',
      '--wd',
    ];
    return {
      start: (_id, command) => ({
        words: [...mounts.enter(), unshare, ...user, '--net', ...options, '--root', rootfs, ...command],
        env: {},
      }),
      connect: (_id, command, { enter }) => ({
        words: [...enter, ...mounts.enter(), unshare, ...user, ...options, '--root', rootfs, ...command],
        env: {},
      }),
      exec: (_id, pid, command) => ({ words: [nsenter, '--target', String(pid), ...entered, ...command], env: {} }),
    };
  },
);
