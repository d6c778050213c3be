// QEMU as a child of the machine process, which blocks in its event loop: everything about it is a file descriptor.
import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import type { EventLoop } from '../event-loop.js';
import * as libc from '../libc.js';
import { MachineError } from '../machine.js';

const PROGRAM = 'qemu-system-x86_64';
const CHUNK = 65536;
/** Bytes of stderr kept to explain an end. */
const KEPT_STDERR = 4096;

/** The end of QEMU's log when a triple fault, and no device, has reset the machine: its exit code tells no difference. */
const TRIPLE_FAULT = 'Triple fault\n';

/** The first of `inherited`'s descriptors in QEMU: behind stdin, stdout and stderr. */
export const FIRST_INHERITED_FD = 3;

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
  for (const folder of (process.env.PATH ?? '').split(':')) {
    const path = join(folder, PROGRAM);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder.
    }
  }
  throw new MachineError('no-accelerator', `${PROGRAM} is not installed: apt-get install qemu-system-x86`);
}

/** A running QEMU. It ends with this process, however that ends. */
export class QemuProcess implements Disposable {
  readonly #loop: EventLoop;
  readonly #options: QemuProcessOptions;
  readonly #pid: number;
  readonly #pidFd: number;
  readonly #stdout: number;
  readonly #stderr: number;
  readonly #chunk = Buffer.alloc(CHUNK);
  readonly #log: number;
  #said = '';
  /** The log's last bytes. A guest can have as much logged as it likes. */
  #logged = '';

  /** @throws MachineError `no-accelerator`, or `host` when it cannot be started; libc.SystemError. */
  constructor(options: QemuProcessOptions) {
    this.#options = options;
    this.#loop = options.loop;
    // Pipes, unlike sockets, hold a page of bytes that are written one by one.
    const [stdout, qemuStdout] = libc.createPipe();
    const [stderr, qemuStderr] = libc.createPipe();
    const [log, qemuLog] = libc.createPipe();
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.#log = log;
    for (const fd of [stdout, stderr, log]) libc.fcntl(fd, libc.F_SETFL, libc.O_NONBLOCK);
    // The parent-death signal outlives exec, and ends QEMU even when this process is killed.
    const logged = ['-d', 'cpu_reset', '-D', `/dev/fd/${FIRST_INHERITED_FD + options.inherited.length}`];
    const argv = ['--pdeathsig', 'KILL', findQemu(), ...options.args, ...logged];
    // Node's own events about the child never come: this thread does not return to its event loop.
    const stdio = ['ignore' as const, qemuStdout, qemuStderr, ...options.inherited, qemuLog];
    const child = spawn('setpriv', argv, { stdio });
    child.on('error', () => {});
    for (const fd of [qemuStdout, qemuStderr, qemuLog]) libc.close(fd);
    if (child.pid === undefined) throw new MachineError('host', 'cannot start setpriv, which is of util-linux');
    this.#pid = child.pid;
    this.#pidFd = libc.pidfdOpen(child.pid);
    for (const fd of [stdout, stderr, log]) this.#loop.add(fd, libc.EPOLLIN, () => this.#receive(fd));
    this.#loop.add(this.#pidFd, libc.EPOLLIN, () => this.#ended());
  }

  /** False when there is nothing to read now. */
  #receive(fd: number): boolean {
    const count = libc.read(fd, this.#chunk, CHUNK);
    // The end of a stream: what ended is told by the pidfd.
    if (count === 0) this.#loop.remove(fd);
    if (count <= 0) return false;
    const bytes = this.#chunk.subarray(0, count);
    if (fd === this.#stdout) this.#options.onOutput(bytes);
    else if (fd === this.#log) this.#logged = (this.#logged + bytes.toString('latin1')).slice(-TRIPLE_FAULT.length);
    else this.#said = (this.#said + bytes.toString('latin1')).slice(-KEPT_STDERR);
    return true;
  }

  #ended(): void {
    this.#loop.remove(this.#pidFd);
    for (const fd of [this.#stdout, this.#stderr, this.#log]) while (this.#receive(fd));
    // siginfo_t: si_code at 8, si_status at 24.
    const info = new Int32Array(32);
    libc.waitid(libc.P_PIDFD, this.#pidFd, info, libc.WEXITED);
    const [code, status] = [info[2], info[6]];
    if (code === libc.CLD_EXITED && status === 0) {
      const crashed = this.#logged.endsWith(TRIPLE_FAULT);
      this.#options.onEnd(crashed ? new MachineError('guest-crash', 'the guest crashed: triple fault') : undefined);
      return;
    }
    const how = code === libc.CLD_EXITED ? `exit code ${status}` : `signal ${status}`;
    const why = this.#said
      .trim()
      .split('\n')
      .pop()!
      .replace(/[^\x20-\x7e]+/g, ' ');
    this.#options.onEnd(new MachineError('host', `QEMU ended (${how})${why === '' ? '' : `: ${why}`}`));
  }

  /** Kills it. The process may still be on its way out when this returns. */
  [Symbol.dispose](): void {
    libc.kill(this.#pid, libc.SIGKILL);
    for (const fd of [this.#stdout, this.#stderr, this.#log, this.#pidFd]) {
      this.#loop.remove(fd);
      libc.close(fd);
    }
  }
}
