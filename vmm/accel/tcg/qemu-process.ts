// Runs QEMU as a child of the machine process.

import { findProgram } from '../../../programs/index.js';
import { ChildProcess, FIRST_INHERITED_FD } from '../../host/child-process.js';
import type { EventLoop } from '../../host/event-loop.js';
import { MachineError } from '../../machine.js';

const PROGRAM = 'qemu-system-x86_64';

/**
 * How QEMU's log ends if a triple fault, rather than a device, reset the machine. The exit code is
 * the same.
 */
const TRIPLE_FAULT = 'Triple fault\n';

export interface QemuProcessOptions {
  args: readonly string[];
  /**
   * Descriptors that QEMU inherits, numbered from 3 on. The caller may close them once QEMU is
   * started.
   */
  inherited: readonly number[];
  loop: EventLoop;
  onOutput(bytes: Uint8Array): void;
  /** QEMU ended by itself. Without `error`, its guest reset the machine. */
  onEnd(error: MachineError | undefined): void;
}

/** Returns the path of QEMU. @throws MachineError `no-accelerator` if it is not installed */
export function findQemu(): string {
  const path = findProgram(PROGRAM);
  if (path !== undefined) return path;
  throw new MachineError('no-accelerator', `${PROGRAM} is not installed: apt-get install qemu-system-x86`);
}

/**
 * Starts QEMU, which ends with this process, however this process ends.
 * @throws MachineError `no-accelerator` if QEMU is not installed, `host` if it cannot be started;
 * libc.SystemError
 */
export function startQemu({ args, onEnd, ...options }: QemuProcessOptions): ChildProcess {
  // The last bytes of the log. A guest can make QEMU log without limit.
  let logged = '';
  return new ChildProcess({
    ...options,
    program: findQemu(),
    args: [...args, '-d', 'cpu_reset', '-D', `/dev/fd/${FIRST_INHERITED_FD + options.inherited.length}`],
    onLog: (bytes) => {
      logged = (logged + Buffer.from(bytes).toString('latin1')).slice(-TRIPLE_FAULT.length);
    },
    onEnd: ({ exitCode, outcome, stderr }) => {
      if (exitCode === 0) {
        const crashed = logged.endsWith(TRIPLE_FAULT);
        return onEnd(crashed ? new MachineError('guest-crash', 'the guest crashed: triple fault') : undefined);
      }
      const reason = stderr.split('\n').at(-1) ?? '';
      onEnd(new MachineError('host', `QEMU ended (${outcome})${reason === '' ? '' : `: ${reason}`}`));
    },
  });
}
