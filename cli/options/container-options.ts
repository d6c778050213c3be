// The options of a new container, for `tsvm run` and `tsvm create`. Each has one declaration. The
// options of its process, its health and its network are in process-options.ts, health-options.ts and
// network-options.ts.
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { ContainerSpec } from '../../sandbox/internal.js';
import { isBootName } from '../../sandbox/machines.js';
import { addOptions, type Declaration, entries, list, readOptions, text, texts } from './declaration.js';
import { parseDevice } from './device.js';
import { parseDuration } from './duration.js';
import { HEALTH_OPTIONS } from './health-options.js';
import { parseLabel, readLabelFile } from './labels.js';
import { parseSysctl, parseUlimit, rate } from './limits.js';
import { parseLogOption } from './log-options.js';
import { parseMount, parseVolume } from './mount.js';
import { NETWORK_OPTIONS } from './network-options.js';
import { parseCpus, parseInteger, parseSeconds } from './number.js';
import { PROCESS_OPTIONS } from './process-options.js';
import { parseRestart, RESTART_POLICIES } from './restart-policy.js';
import { parseSecurityOption } from './security.js';
import { parseSize } from './size.js';
import { parseTmpfs } from './tmpfs.js';
import { volumeNames } from './values.js';

export const CONTAINER_OPTIONS: readonly Declaration<Omit<ContainerSpec, 'image' | 'command'>>[] = [
  // Its life.
  { flags: '--name <NAME>', help: 'name of the container (default: random)', field: 'name', parse: text },
  { flags: '--rm', help: 'remove the container when it exits', field: 'autoRemove' },
  {
    flags: '--label-file <FILE>',
    help: 'set the labels of a file, one on each line',
    field: 'labels',
    parse: entries(readLabelFile),
  },
  // After --label-file, so that a label of the command line replaces one of a file.
  {
    flags: '-l, --label <NAME=VALUE>',
    help: 'set a label',
    field: 'labels',
    parse: entries((text) => [parseLabel(text)]),
  },
  {
    flags: '--restart <POLICY>',
    help: 'when to restart it: no, on-failure[:N], always, unless-stopped',
    field: 'restart',
    values: RESTART_POLICIES,
    parse: parseRestart,
  },
  {
    flags: '--stop-signal <SIGNAL>',
    help: 'signal to stop the container (default: SIGTERM)',
    field: 'stopSignal',
    parse: text,
  },
  {
    flags: '--stop-timeout <SECONDS>',
    help: 'seconds to wait before killing the container (default: 10)',
    field: 'stopTimeout',
    parse: parseSeconds,
  },
  {
    flags: '--log-opt <NAME=VALUE>',
    help: 'limit the log: max-size= of a file (default: 10m), max-file= of files (default: 3)',
    field: 'logs',
    values: ['max-size=', 'max-file='],
    parse: parseLogOption,
  },
  ...HEALTH_OPTIONS,

  // Its image and its process.
  {
    flags: '--pull <WHEN>',
    help: 'when to pull the image (default: missing)',
    field: 'pull',
    choices: ['missing', 'always', 'never'],
  },
  {
    flags: '--platform <OS/ARCH[/VARIANT]>',
    help: 'platform of the image (default: linux/amd64)',
    field: 'platform',
    values: ['linux/amd64'],
    parse: text,
  },
  ...PROCESS_OPTIONS,
  // Unlike other options, '' has a meaning: no entrypoint.
  {
    flags: '--entrypoint <COMMAND>',
    help: 'overwrite the entrypoint of the image',
    field: 'entrypoint',
    parse: (text) => text,
  },
  { flags: '--init', help: 'run an init as process 1 that forwards signals and reaps processes', field: 'init' },
  {
    flags: '--timeout <DURATION>',
    help: 'stop the command after a duration such as 30s or 5m',
    field: 'timeout',
    parse: parseDuration,
  },
  { flags: '-h, --hostname <NAME>', help: 'host name (default: the container ID)', field: 'hostname', parse: text },

  // Its files.
  { flags: '--read-only', help: 'mount the root file system read-only', field: 'readOnly' },
  {
    flags: '--disk <SIZE>',
    help: 'disk size of the writable layer (default: 10g), or memory, with --rm',
    field: 'disk',
    parse: (text, flag) => (text === 'memory' ? text : parseSize(text, flag)),
  },
  {
    flags: '--tmpfs <DIR[:OPTIONS]>',
    help: 'mount a tmpfs: size=, mode=, uid=, gid=, ro, exec, suid, dev',
    field: 'tmpfs',
    parse: list(parseTmpfs),
  },
  {
    flags: '-v, --volume <[HOST:]GUEST[:ro]>',
    help: 'mount a file or folder of the host, or a volume',
    field: 'mounts',
    values: () => volumeNames().map((name) => `${name}:`),
    parse: list(parseVolume),
  },
  {
    flags: '--mount <FIELDS>',
    help: 'mount by fields: type=bind|volume|tmpfs,source=,target=,readonly,volume-nocopy,volume-opt=size=,tmpfs-size=,tmpfs-mode=',
    fields: ['mounts', 'tmpfs'],
    values: ['type=bind,source=', 'type=volume,source=', 'type=tmpfs,target='],
    parse: (text, flag, { mounts = [], tmpfs = [] }) => {
      const more = parseMount(text, flag);
      return { mounts: [...mounts, ...more.mounts], tmpfs: [...tmpfs, ...more.tmpfs] };
    },
  },
  { flags: '--shm-size <SIZE>', help: 'size of /dev/shm (default: 64m)', field: 'shmSize', parse: parseSize },

  // What it may use.
  {
    flags: '--cpus <N>',
    help: 'number of CPUs, 0.01 to 64 (default: 1)',
    field: 'cpus',
    parse: parseCpus,
  },
  {
    flags: '-m, --memory <SIZE>',
    help: 'memory limit, at least 64m (default: 512m)',
    field: 'memory',
    parse: parseSize,
  },
  {
    flags: '--device-read-bps <[DEV:]RATE>',
    help: 'limit the bytes read from a disk in a second',
    field: 'deviceRates',
    parse: list(rate('readBytes', parseSize)),
  },
  {
    flags: '--device-write-bps <[DEV:]RATE>',
    help: 'limit the bytes written to a disk in a second',
    field: 'deviceRates',
    parse: list(rate('writeBytes', parseSize)),
  },
  {
    flags: '--device-read-iops <[DEV:]RATE>',
    help: 'limit the reads from a disk in a second',
    field: 'deviceRates',
    parse: list(rate('readOperations', parseInteger)),
  },
  {
    flags: '--device-write-iops <[DEV:]RATE>',
    help: 'limit the writes to a disk in a second',
    field: 'deviceRates',
    parse: list(rate('writeOperations', parseInteger)),
  },
  {
    flags: '--pids-limit <N>',
    help: 'limit the number of processes and threads; -1 is unlimited',
    field: 'pidsLimit',
    parse: parseInteger,
  },
  {
    flags: '--ulimit <NAME=SOFT[:HARD]>',
    help: 'set a resource limit: nofile, nproc, core, stack, ...',
    field: 'ulimits',
    parse: list(parseUlimit),
  },

  // What it may do.
  {
    flags: '--privileged',
    help: 'give all capabilities and devices, and write access to /proc and /sys',
    field: 'privileged',
  },
  {
    flags: '--device <DEVICE[:PATH[:ACCESS]]>',
    help: "give a device of the guest's kernel: /dev/fuse, /dev/net/tun, /dev/loop0, ...",
    field: 'devices',
    values: ['/dev/fuse', '/dev/loop-control', '/dev/net/tun'],
    parse: list(parseDevice),
  },
  {
    flags: '--group-add <GROUP>',
    help: 'add a group to the user, by name or number',
    field: 'groupAdd',
    parse: texts,
  },
  { flags: '--cap-add <NAME>', help: 'add a Linux capability, or ALL', field: 'capAdd', values: ['ALL'], parse: texts },
  {
    flags: '--cap-drop <NAME>',
    help: 'drop a Linux capability, or ALL',
    field: 'capDrop',
    values: ['ALL'],
    parse: texts,
  },
  {
    flags: '--security-opt <OPTION>',
    help: 'set a security option: no-new-privileges, seccomp=FILE, seccomp=unconfined',
    fields: ['noNewPrivileges', 'seccomp'],
    values: ['no-new-privileges', 'seccomp=unconfined', 'seccomp='],
    parse: parseSecurityOption,
  },
  {
    flags: '--sysctl <NAME=VALUE>',
    help: 'set a kernel parameter',
    field: 'sysctls',
    parse: entries((text, flag) => [parseSysctl(text, flag)]),
  },

  // Its machine.
  {
    flags: '--kernel <KERNEL>',
    help: 'boot this vmlinux or bzImage, or guest, uml, debian, debian-generic, debian-uml',
    field: 'kernel',
    parse: (kernel) => (kernel === '' ? undefined : isBootName(kernel) ? kernel : resolve(kernel)),
  },
  {
    flags: '--kernel-modules <FOLDER>',
    help: 'modules for the kernel at a path: /lib/modules/RELEASE',
    field: 'kernelModules',
    parse: (folder) => (folder === '' ? undefined : resolve(folder)),
  },
  { flags: '--console', help: "print the guest's serial console to stderr", field: 'console' },
  {
    flags: '--accel <NAME>',
    help: 'run on KVM, on a CPU that QEMU emulates, or on User-Mode Linux (default: auto)',
    field: 'accel',
    choices: ['auto', 'kvm', 'tcg', 'uml'],
    env: 'TSVM_ACCEL',
  },
  { flags: '--cold', help: 'boot the machine, and restore no template', field: 'cold' },
  {
    flags: '--isolation <KIND>',
    help: 'vm: run on KVM or not at all (default: default)',
    field: 'isolation',
    choices: ['default', 'vm'],
    env: 'TSVM_ISOLATION',
  },
  {
    flags: '--cgroup-parent <DIR>',
    help: 'make the cgroup of the machine in this folder of cgroup v2',
    field: 'cgroupParent',
    parse: text,
    env: 'TSVM_CGROUP_PARENT',
  },
  {
    flags: '--jail <MODE>',
    help: 'jail of the machine process: as the host allows, required, or none (default: auto)',
    field: 'jail',
    choices: ['auto', 'require', 'off'],
    env: 'TSVM_JAIL',
  },
];

/** The file for the ID. It is not part of the spec. */
export const CIDFILE_OPTION: Declaration<{ cidfile?: string }> = {
  flags: '--cidfile <FILE>',
  help: 'write the container ID to a new file',
  field: 'cidfile',
  parse: text,
};

/** Adds the arguments and options of a new container. */
export function addContainerOptions(command: Command): Command {
  command
    .usage('[options] IMAGE [COMMAND [ARG...]]')
    .passThroughOptions()
    .argument('<IMAGE>', 'name or ID, oci:DIR[:TAG], oci-archive:FILE, or docker-archive:FILE')
    .argument('[COMMAND...]', "command and its arguments (default: the image's)");
  addOptions(command, [CIDFILE_OPTION]);
  return addOptions(addOptions(command, CONTAINER_OPTIONS), NETWORK_OPTIONS);
}

/**
 * The spec of a container from its parsed command.
 * @param words the container's own command
 * @throws UsageError
 */
export function toContainerSpec(image: string, words: string[], command: Command): ContainerSpec {
  return {
    ...readOptions(CONTAINER_OPTIONS, command),
    network: readOptions(NETWORK_OPTIONS, command),
    image,
    command: words,
  };
}
