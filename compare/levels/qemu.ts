// QEMU as it is used without tsvm: a classic machine with firmware, PCI and the distribution's kernel,
// and its machine for microVMs. Without KVM it emulates the processor.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../programs/index.js';
import { probeMachine, readTscKhz } from '../../sandbox/machines.js';
import { unlessAborted } from '../ending.js';
import type { CommandLine, Level } from '../level.js';
import { askGauge } from './ask.js';
import {
  besideFolderServer,
  FAILURE,
  findFolderServer,
  type GuestKernel,
  kernelWords,
  makeGuestFiles,
  missingParts,
  TAG,
} from './guest-machine.js';
import { versionOf } from './version.js';

const PROGRAM = 'qemu-system-x86_64';
const PORT = 'gauge';

interface QemuMachine {
  name: string;
  summary: string;
  kernel: GuestKernel;
  /** Words of the machine, which uses the memory named `memory`. */
  machine: readonly string[];
  /** The end of the names of its virtio devices: of PCI, or of plain virtio. */
  bus: 'pci' | 'device';
}

function qemuLevel({ name, summary, kernel, machine, bus }: QemuMachine): Level {
  return {
    name,
    summary,
    missing() {
      if (findProgram(PROGRAM) === undefined) {
        return { reason: 'QEMU is not installed', advice: 'apt-get install qemu-system-x86' };
      }
      return missingParts(kernel);
    },
    async prepare(bundle, signal) {
      const { folder, memory, shared } = bundle;
      const files = await makeGuestFiles(bundle, kernel, signal);
      const { usable } = await unlessAborted(probeMachine(), signal);
      const server = findFolderServer();
      const path = findProgram(PROGRAM) ?? PROGRAM;
      const own = (id: string, file: string) => join(folder, id, file);
      const env = { PATH: process.env.PATH };
      return {
        version: await versionOf(path, signal),
        limitsMemory: true,
        places: [folder],
        faces: /^\S*(qemu-system-x86_64|virtiofsd) /,
        ...(usable ? {} : { note: 'QEMU emulates its processor (tcg), because this host has no usable KVM' }),
        ...('reason' in server ? { folderless: server.reason } : {}),
        start(id, command): CommandLine {
          mkdirSync(join(folder, id));
          const append = kernelWords({
            ...{ kernel, channel: `port:${PORT}`, command, hasFolder: 'program' in server, end: 't' },
            // The firmware of q35 has clocks. The emulated TSC is the host's.
            ...(!usable && kernel === 'guest' ? { tscKhz: readTscKhz() } : {}),
          });
          const line: CommandLine = {
            words: [
              path,
              ...['-no-user-config', '-display', 'none', '-monitor', 'none', '-no-reboot', '-nic', 'none', ...machine],
              ...(usable ? ['-accel', 'kvm', '-cpu', 'host'] : ['-accel', 'tcg', '-cpu', 'max']),
              ...['-smp', '1', '-m', `${memory}B`],
              ...['-object', `memory-backend-memfd,id=memory,size=${memory},share=on`],
              ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
              ...['-kernel', files.kernel, '-initrd', files.initrd, '-append', append],
              ...['-drive', `id=root,file=${files.disk},format=raw,if=none,readonly=on`],
              ...['-device', `virtio-blk-${bus},drive=root`, '-device', `virtio-serial-${bus}`],
              ...['-chardev', `socket,id=${PORT},path=${own(id, 'gauge')},server=on,wait=off`],
              ...['-device', `virtserialport,chardev=${PORT},name=${PORT}`],
              ...('reason' in server
                ? []
                : [
                    ...['-chardev', `socket,id=${TAG},path=${own(id, TAG)}`],
                    ...['-device', `vhost-user-fs-${bus},chardev=${TAG},tag=${TAG}`],
                  ]),
            ],
            env,
            failure: FAILURE,
          };
          return 'reason' in server ? line : besideFolderServer(line, server.program, own(id, TAG), shared);
        },
        exec: (id, _pid, command) => askGauge(own(id, 'gauge'), command),
        async [Symbol.asyncDispose]() {},
      };
    },
  };
}

export const qemuLevels: readonly Level[] = [
  qemuLevel({
    name: 'qemu',
    summary: "a classic virtual machine: QEMU's q35 with firmware, PCI and Debian's kernel",
    kernel: 'debian',
    machine: ['-M', 'q35,memory-backend=memory'],
    bus: 'pci',
  }),
  qemuLevel({
    name: 'qemu-microvm',
    summary: "QEMU's machine for microVMs, with the kernel of this project",
    kernel: 'guest',
    machine: [
      '-nodefaults',
      ...['-M', 'microvm,acpi=off,x-option-roms=off,rtc=on,isa-serial=on,memory-backend=memory'],
      ...['-global', 'virtio-mmio.force-legacy=false'],
    ],
    bus: 'device',
  }),
];
