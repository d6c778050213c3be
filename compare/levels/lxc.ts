// LXC: containers with the configuration that its package gives all containers: capabilities dropped,
// devices, and a filter of system calls.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../programs/index.js';
import { type Bundle, type CommandLine, environmentOf, FOLDER, type Level } from '../level.js';
import { inCgroups, makeCgroups, removeCgroups } from './cgroups.js';
import { holdMounts, isRoot, PRIVATE_RUN } from './mounts.js';
import { versionOf } from './version.js';

const PROGRAM = 'lxc-start';
/** Of its lines `PROGRAM: NAME: FILE: FUNCTION: LINE REASON`, the first one has the cause. */
const FAILURE = /^lxc-\w+: \S+ \S+ \w+: \d+ (.+)$/;
const COMMON = '/usr/share/lxc/config/common.conf';

/** lxc.container.conf(5). */
function configuration({ rootfs, config, shared }: Bundle, command: readonly string[], network: string): string {
  const lines = [
    `lxc.include = ${COMMON}`,
    `lxc.rootfs.path = dir:${rootfs}`,
    'lxc.rootfs.options = ro',
    'lxc.uts.name = compare',
    network,
    // Its output is that of lxc-start.
    'lxc.console.path = none',
    'lxc.tty.max = 0',
    // Of the package's mounts, all but the cgroups.
    'lxc.mount.auto =',
    'lxc.mount.auto = proc:mixed sys:ro',
    'lxc.mount.entry = tmpfs tmp tmpfs mode=1777,nosuid,nodev 0 0',
    `lxc.mount.entry = ${shared} ${FOLDER.slice(1)} none bind,rw 0 0`,
    // Its cgroups are below that of lxc-start, which is ours.
    'lxc.cgroup.relative = 1',
    ...Object.entries(environmentOf(config)).map(([name, value]) => `lxc.environment = ${name}=${value}`),
    `lxc.init.cmd = ${command.join(' ')}`,
  ];
  return `${lines.join('\n')}\n`;
}

export const lxc: Level = {
  name: 'lxc',
  summary: 'containers of LXC: namespaces, cgroup, a filter of system calls',
  missing() {
    if (findProgram(PROGRAM) === undefined || !existsSync(COMMON)) {
      return { reason: `${PROGRAM} is not installed`, advice: 'apt-get install lxc' };
    }
    return isRoot() ? undefined : { reason: 'LXC makes cgroups and mounts here for root alone' };
  },
  async prepare(bundle, signal) {
    const path = findProgram(PROGRAM) ?? PROGRAM;
    const version = await versionOf(path, signal);
    const mounts = await holdMounts(signal, PRIVATE_RUN);
    const env = { PATH: process.env.PATH };
    const named = (id: string) => ['-n', id, '-P', bundle.folder];
    const begin = (id: string, command: readonly string[], network: string): CommandLine => {
      mkdirSync(join(bundle.folder, id));
      writeFileSync(join(bundle.folder, id, 'config'), configuration(bundle, command, network));
      makeCgroups(id, bundle.memory);
      return { words: [...inCgroups(id), ...mounts.enter(), path, '-F', ...named(id)], env, failure: FAILURE };
    };
    return {
      version,
      limitsMemory: true,
      places: [bundle.folder],
      start: (id, command) => begin(id, command, 'lxc.net.0.type = empty'),
      connect: (id, command, { path: network }) => begin(id, command, `lxc.namespace.share.net = ${network}`),
      exec(id, _pid, command) {
        const variables = Object.entries(environmentOf(bundle.config)).flatMap(([name, value]) => [
          '-v',
          `${name}=${value}`,
        ]);
        const options = [...named(id), '--clear-env', ...variables];
        return { words: [...mounts.enter(), 'lxc-attach', ...options, '--', ...command], env, failure: FAILURE };
      },
      remove: (id) => ({ words: removeCgroups(id), env }),
      [Symbol.asyncDispose]: () => mounts[Symbol.asyncDispose](),
    };
  },
};
