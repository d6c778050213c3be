// The options that say what a container is, for `tsvm run` and `tsvm create`: one declaration for each. The options of
// its process and its network stand in process-options.ts and network-options.ts.
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { ContainerSpec } from '../../sandbox/internal.js';
import { addOptions, type Declaration, entries, list, readOptions, text, texts } from './declaration.js';
import { parseDuration } from './duration.js';
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
  // How it is kept.
  { flags: '--name <NAME>', help: 'name of the container (default: two words at random)', field: 'name', parse: text },
  { flags: '--rm', help: 'remove the container when it ends', field: 'autoRemove' },
  {
    flags: '--label-file <FILE>',
    help: 'mark the container with the lines of a file',
    field: 'labels',
    parse: entries(readLabelFile),
  },
  // It comes after the files: a label that it sets wins over theirs.
  {
    flags: '-l, --label <NAME=VALUE>',
    help: 'mark the container',
    field: 'labels',
    parse: entries((text) => [parseLabel(text)]),
  },
  {
    flags: '--restart <POLICY>',
    help: 'start it again: no, on-failure[:N], always, unless-stopped',
    field: 'restart',
    values: RESTART_POLICIES,
    parse: parseRestart,
  },
  {
    flags: '--stop-signal <SIGNAL>',
    help: 'what `tsvm stop` sends (default: SIGTERM)',
    field: 'stopSignal',
    parse: text,
  },
  {
    flags: '--stop-timeout <SECONDS>',
    help: 'how long `tsvm stop` waits before it kills (default: 10)',
    field: 'stopTimeout',
    parse: parseSeconds,
  },
  {
    flags: '--log-opt <NAME=VALUE>',
    help: 'max-size= of a log file (default: 10m), max-file= that are kept (3)',
    field: 'logs',
    values: ['max-size=', 'max-file='],
    parse: parseLogOption,
  },

  // Its image and its process.
  {
    flags: '--pull <WHEN>',
    help: 'ask the registry for the image (default: missing)',
    field: 'pull',
    choices: ['missing', 'always', 'never'],
  },
  {
    flags: '--platform <OS/ARCH[/VARIANT]>',
    help: 'which variant of the image (default: linux/amd64)',
    field: 'platform',
    values: ['linux/amd64'],
    parse: text,
  },
  ...PROCESS_OPTIONS,
  // '' means something here: the container has no entrypoint.
  {
    flags: '--entrypoint <COMMAND>',
    help: "instead of the image's entrypoint",
    field: 'entrypoint',
    parse: (text) => text,
  },
  { flags: '--init', help: 'run an init as process 1, which hands signals on and reaps', field: 'init' },
  {
    flags: '--timeout <DURATION>',
    help: 'end the command after this time: 30s, 5m',
    field: 'timeout',
    parse: parseDuration,
  },
  { flags: '-h, --hostname <NAME>', help: 'host name (default: random)', field: 'hostname', parse: text },

  // Its files.
  { flags: '--read-only', help: "make the container's root file system read-only", field: 'readOnly' },
  { flags: '--disk <SIZE>', help: 'write to a disk of this size, not to memory', field: 'disk', parse: parseSize },
  {
    flags: '--tmpfs <DIR[:OPTIONS]>',
    help: 'mount a tmpfs: size=, mode=, uid=, gid=, ro, exec, suid, dev',
    field: 'tmpfs',
    parse: list(parseTmpfs),
  },
  {
    flags: '-v, --volume <[HOST:]GUEST[:ro]>',
    help: "mount a folder or file of the host's, or a volume",
    field: 'mounts',
    values: () => volumeNames().map((name) => `${name}:`),
    parse: list(parseVolume),
  },
  {
    flags: '--mount <FIELDS>',
    help: 'mount: type=bind|volume|tmpfs,source=,target=,readonly,volume-nocopy,tmpfs-size=,tmpfs-mode=',
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
    help: 'number of CPUs, 0.01 to 64, fractions too (default: 1)',
    field: 'cpus',
    parse: parseCpus,
  },
  { flags: '-m, --memory <SIZE>', help: 'memory, at least 64m (default: 512m)', field: 'memory', parse: parseSize },
  {
    flags: '--device-read-bps <[DEV:]RATE>',
    help: 'bytes that a disk reads in a second',
    field: 'deviceRates',
    parse: list(rate('readBytes', parseSize)),
  },
  {
    flags: '--device-write-bps <[DEV:]RATE>',
    help: 'bytes that it writes',
    field: 'deviceRates',
    parse: list(rate('writeBytes', parseSize)),
  },
  {
    flags: '--device-read-iops <[DEV:]RATE>',
    help: 'its reads in a second',
    field: 'deviceRates',
    parse: list(rate('readOperations', parseInteger)),
  },
  {
    flags: '--device-write-iops <[DEV:]RATE>',
    help: 'its writes',
    field: 'deviceRates',
    parse: list(rate('writeOperations', parseInteger)),
  },
  {
    flags: '--pids-limit <N>',
    help: 'most processes and threads, -1 for no limit',
    field: 'pidsLimit',
    parse: parseInteger,
  },
  {
    flags: '--ulimit <NAME=SOFT[:HARD]>',
    help: 'resource limit: nofile, nproc, core, stack, ...',
    field: 'ulimits',
    parse: list(parseUlimit),
  },

  // What it may do.
  {
    flags: '--privileged',
    help: 'all capabilities and devices, and a kernel that may be changed',
    field: 'privileged',
  },
  {
    flags: '--group-add <GROUP>',
    help: 'a further group of the user, name or number',
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
    help: 'no-new-privileges, seccomp=FILE, seccomp=unconfined',
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
    flags: '--kernel <FILE>',
    help: 'boot this vmlinux or bzImage',
    field: 'kernel',
    parse: (file) => (file === '' ? undefined : resolve(file)),
  },
  { flags: '--console', help: "show the guest's serial console on stderr", field: 'console' },
  {
    flags: '--accel <NAME>',
    help: 'KVM, or QEMU emulating a CPU (default: auto)',
    field: 'accel',
    choices: ['auto', 'kvm', 'tcg'],
    env: 'TSVM_ACCEL',
  },
];

/** Where the ID is written; no part of the container. */
export const CIDFILE_OPTION: Declaration<{ cidfile?: string }> = {
  flags: '--cidfile <FILE>',
  help: "write the container's ID to a new file",
  field: 'cidfile',
  parse: text,
};

/** Adds the arguments and options of a new container. */
export function addContainerOptions(command: Command): Command {
  command
    .usage('[options] IMAGE [COMMAND [ARG...]]')
    .passThroughOptions()
    .argument(
      '<IMAGE>',
      'a name from `tsvm images` or a registry, oci:DIR[:TAG], oci-archive:FILE, or docker-archive:FILE',
    )
    .argument('[COMMAND...]', "instead of the image's own, with its arguments");
  addOptions(command, [CIDFILE_OPTION]);
  return addOptions(addOptions(command, CONTAINER_OPTIONS), NETWORK_OPTIONS);
}

/** What the words of a parsed command ask for. @throws UsageError */
export function toContainerSpec(image: string, words: string[], command: Command): ContainerSpec {
  return {
    ...readOptions(CONTAINER_OPTIONS, command),
    network: readOptions(NETWORK_OPTIONS, command),
    image,
    command: words,
  };
}
