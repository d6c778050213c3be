// Firecracker: a monitor for microVMs. It shares no folders of the host.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../programs/index.js';
import type { Level } from '../level.js';
import { askGauge } from './ask.js';
import { type GuestFiles, kernelWords, makeGuestFiles, missingMonitor } from './guest-machine.js';
import { versionOf } from './version.js';

const PROGRAM = 'firecracker';
/** The port of vsock at which the gauge serves. */
const PORT = 1024;

/** The file of `--config-file` (src/firecracker/swagger/firecracker.yaml has its parts). */
export function firecrackerConfiguration(
  { kernel, initrd, disk }: GuestFiles,
  { memory, socket, command }: { memory: number; socket: string; command: readonly string[] },
) {
  return {
    'boot-source': {
      kernel_image_path: kernel,
      initrd_path: initrd,
      boot_args: kernelWords({ kernel: 'guest', channel: `vsock:${PORT}`, command, hasFolder: false, end: 'k' }),
    },
    drives: [{ drive_id: 'root', path_on_host: disk, is_root_device: false, is_read_only: true }],
    'machine-config': { vcpu_count: 1, mem_size_mib: Math.floor(memory / 2 ** 20) },
    vsock: { guest_cid: 3, uds_path: socket },
  };
}

export const firecracker: Level = {
  name: 'firecracker',
  summary: 'a microVM of Firecracker, with the kernel of this project',
  missing: () => missingMonitor(PROGRAM, 'firecracker-microvm/firecracker', 'guest'),
  async prepare(bundle, signal) {
    const { folder, memory } = bundle;
    const files = await makeGuestFiles(bundle, 'guest', signal);
    const path = findProgram(PROGRAM) ?? PROGRAM;
    const own = (id: string, file: string) => join(folder, id, file);
    return {
      version: await versionOf(path, signal),
      limitsMemory: true,
      places: [folder],
      faces: /^\S*firecracker /,
      folderless: 'Firecracker shares no folders of the host',
      start(id, command) {
        mkdirSync(join(folder, id));
        const configuration = firecrackerConfiguration(files, { memory, socket: own(id, 'vsock'), command });
        writeFileSync(own(id, 'config.json'), JSON.stringify(configuration));
        const words = ['--no-api', '--level', 'Error', '--id', id, '--config-file', own(id, 'config.json')];
        return { words: [path, ...words], env: { PATH: process.env.PATH } };
      },
      exec: (id, _pid, command) => askGauge(own(id, 'vsock'), command, PORT),
      async [Symbol.asyncDispose]() {},
    };
  },
};
