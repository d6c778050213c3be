// systemd-nspawn: containers of systemd. It is not registered anywhere: neither machined nor a running
// systemd is needed.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../programs/index.js';
import { type CommandLine, environmentOf, FOLDER, GAUGE, type Level } from '../level.js';
import { askGauge } from './ask.js';
import { inCgroups, makeCgroups, removeCgroups } from './cgroups.js';
import { holdMounts, isRoot, PRIVATE_RUN } from './mounts.js';
import { versionOf } from './version.js';

const PROGRAM = 'systemd-nspawn';
/** The folder of the gauge's socket in the container. */
const INSIDE = '/tmp/.tsvm';

export const nspawn: Level = {
  name: 'nspawn',
  summary: "systemd's containers: namespaces, a filter of system calls",
  missing() {
    if (findProgram(PROGRAM) === undefined) {
      return { reason: `${PROGRAM} is not installed`, advice: 'apt-get install systemd-container' };
    }
    return isRoot() ? undefined : { reason: `${PROGRAM} is for root alone` };
  },
  async prepare({ rootfs, folder, memory, config, shared }, signal) {
    const path = findProgram(PROGRAM) ?? PROGRAM;
    const version = await versionOf(path, signal);
    const mounts = await holdMounts(signal, PRIVATE_RUN);
    const env = { PATH: process.env.PATH };
    const variables = Object.entries(environmentOf(config)).map(([name, value]) => `--setenv=${name}=${value}`);
    const socketFolder = (id: string) => join(folder, id);
    const begin = (id: string, command: readonly string[], network: string): CommandLine => {
      mkdirSync(socketFolder(id));
      makeCgroups(id, memory);
      const options = [
        ...['--quiet', '--pipe', '--as-pid2', '--register=no', '--keep-unit', `--machine=${id}`],
        ...[`--directory=${rootfs}`, '--read-only', '--tmpfs=/tmp:mode=1777', network],
        ...['--link-journal=no', '--resolv-conf=off', '--timezone=off', ...variables],
        ...[`--bind=${socketFolder(id)}:${INSIDE}`, `--bind=${shared}:${FOLDER}`],
      ];
      const served = [GAUGE, 'serve', `unix:${INSIDE}/gauge`, ...command];
      return { words: [...inCgroups(id), ...mounts.enter(), path, ...options, ...served], env };
    };
    return {
      version,
      limitsMemory: true,
      places: [folder],
      start: (id, command) => begin(id, command, '--private-network'),
      connect: (id, command, { path: network }) => begin(id, command, `--network-namespace-path=${network}`),
      exec: (id, _pid, command) => askGauge(join(socketFolder(id), 'gauge'), command),
      remove: (id) => ({ words: removeCgroups(id), env }),
      [Symbol.asyncDispose]: () => mounts[Symbol.asyncDispose](),
    };
  },
};
