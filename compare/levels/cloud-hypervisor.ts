// Cloud Hypervisor: a monitor with PCI, which boots the distribution's kernel without firmware.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../programs/index.js';
import type { CommandLine, Level } from '../level.js';
import { askGauge } from './ask.js';
import {
  besideFolderServer,
  FAILURE,
  findFolderServer,
  type GuestFiles,
  kernelWords,
  makeGuestFiles,
  missingMonitor,
  TAG,
} from './guest-machine.js';
import { versionOf } from './version.js';

const PROGRAM = 'cloud-hypervisor';
/** The port of vsock at which the gauge serves. */
const PORT = 1024;

/** Its arguments (docs/cli.md of Cloud Hypervisor). @param folder the socket of the host's folder */
export function cloudHypervisorArguments(
  { kernel, initrd, disk }: GuestFiles,
  given: { memory: number; socket: string; folder: string | undefined; command: readonly string[] },
): string[] {
  const { memory, socket, folder, command } = given;
  const line = kernelWords({
    kernel: 'debian',
    channel: `vsock:${PORT}`,
    command,
    hasFolder: folder !== undefined,
    end: 'off',
  });
  return [
    ...['--kernel', kernel, '--initramfs', initrd, '--cmdline', line],
    ...['--cpus', 'boot=1', '--memory', `size=${memory},shared=on`, '--disk', `path=${disk},readonly=on`],
    ...['--serial', 'tty', '--console', 'off', '--vsock', `cid=3,socket=${socket}`],
    ...(folder === undefined ? [] : ['--fs', `tag=${TAG},socket=${folder}`]),
  ];
}

export const cloudHypervisor: Level = {
  name: 'cloud-hypervisor',
  summary: "a virtual machine of Cloud Hypervisor, with Debian's kernel",
  missing: () => missingMonitor(PROGRAM, 'cloud-hypervisor/cloud-hypervisor', 'debian'),
  async prepare(bundle, signal) {
    const { folder, memory, shared } = bundle;
    const files = await makeGuestFiles(bundle, 'debian', signal);
    const server = findFolderServer();
    const path = findProgram(PROGRAM) ?? PROGRAM;
    const own = (id: string, file: string) => join(folder, id, file);
    return {
      version: await versionOf(path, signal),
      limitsMemory: true,
      places: [folder],
      faces: /^\S*(cloud-hypervisor|virtiofsd) /,
      ...('reason' in server ? { folderless: server.reason } : {}),
      start(id, command): CommandLine {
        mkdirSync(join(folder, id));
        const socket = 'reason' in server ? undefined : own(id, TAG);
        const words = cloudHypervisorArguments(files, { memory, socket: own(id, 'vsock'), folder: socket, command });
        const line: CommandLine = { words: [path, ...words], env: { PATH: process.env.PATH }, failure: FAILURE };
        return 'reason' in server ? line : besideFolderServer(line, server.program, own(id, TAG), shared);
      },
      exec: (id, _pid, command) => askGauge(own(id, 'vsock'), command, PORT),
      async [Symbol.asyncDispose]() {},
    };
  },
};
