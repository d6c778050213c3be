// QEMU as a child of the machine process.
import { ChildProcess, FIRST_INHERITED_FD, findProgram } from '../../host/child-process.js';
import type { EventLoop } from '../../host/event-loop.js';
import { MachineError } from '../../machine.js';

const PROGRAM = 'qemu-system-x86_64';

/** The end of QEMU's log when a triple fault, and no device, has reset the machine: its exit code tells no difference. */
const TRIPLE_FAULT = 'Triple fault\n';

export interface QemuProcessOptions {
  args: readonly string[];
  /** Descriptors that QEMU gets, numbered from 3 on. They may be closed when it has been started. */
  inherited: readonly number[];
  loop: EventLoop;
  onOutput(bytes: Uint8Array): void;
  /** It ended by itself. `error`: it was not its guest that reset the machine. */
  onEnd(error: MachineError | undefined): void;
}

/** Path of QEMU. @throws MachineError `no-accelerator` when it is not installed. */
export function findQemu(): string {
  const path = findProgram(PROGRAM);
  if (path !== undefined) return path;
  throw new MachineError('no-accelerator', `${PROGRAM} is not installed: apt-get install qemu-system-x86`);
}

/**
 * Starts QEMU, which ends with this process, however that ends.
 * @throws MachineError `no-accelerator` when it is not installed, or `host` when it cannot be started; libc.SystemError.
 */
export function startQemu({ args, onEnd, ...options }: QemuProcessOptions): ChildProcess {
  // The log's last bytes. A guest can have as much logged as it likes.
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
