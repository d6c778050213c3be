// A child of the machine process. The machine process blocks in its event loop, so everything about
// a child is a file descriptor.
import { type ChildProcess as NodeChild, spawn } from 'node:child_process';
import { constants as os } from 'node:os';
import { MachineError } from '../machine.js';
import type { EventLoop } from './event-loop.js';
import * as libc from './libc.js';

const CHUNK = 65536;
/** Bytes of stderr that are kept to explain how the child ended. */
const KEPT_STDERR = 4096;

/** The first inherited descriptor in the child, after stdin, stdout and stderr. */
export const FIRST_INHERITED_FD = 3;

/** How a child ended. */
export interface ChildEnd {
  /** Undefined if a signal ended it. */
  exitCode: number | undefined;
  /** `exit code 1`, `signal 9`. */
  outcome: string;
  /** The end of its stderr, as printable text. */
  stderr: string;
}

export interface ChildOptions {
  /** Path of the program. */
  program: string;
  args: readonly string[];
  /**
   * Descriptors that the child inherits, numbered from 3 on. The caller may close them once the
   * child is started.
   */
  inherited: readonly number[];
  loop: EventLoop;
  onOutput(bytes: Uint8Array): void;
  /** If given, the child has one more descriptor to write to, after the inherited ones. */
  onLog?(bytes: Uint8Array): void;
  /** The child ended by itself. */
  onEnd(end: ChildEnd): void;
}

/** A running program. It ends with this process, even if this process is killed. */
export class ChildProcess implements Disposable {
  readonly #loop: EventLoop;
  readonly #options: ChildOptions;
  readonly #child: NodeChild;
  readonly #pidFd: number;
  /** The consumer of each stream of the child. */
  readonly #readers = new Map<number, (bytes: Buffer) => void>();
  readonly #chunk = Buffer.alloc(CHUNK);
  #stderr = '';

  /** @throws MachineError `host` if the child cannot be started; libc.SystemError */
  constructor(options: ChildOptions) {
    this.#options = options;
    this.#loop = options.loop;
    const stdout = this.#openStream((bytes) => options.onOutput(bytes));
    const stderr = this.#openStream((bytes) => {
      this.#stderr = (this.#stderr + bytes.toString('latin1')).slice(-KEPT_STDERR);
    });
    const { onLog } = options;
    const log = onLog === undefined ? [] : [this.#openStream((bytes) => onLog(bytes))];
    // The parent-death signal survives exec, and ends the child even if this process is killed.
    const argv = ['--pdeathsig', 'KILL', options.program, ...options.args];
    // The machine process does not return to Node's event loop, so Node.js delivers no events about
    // the child.
    const child = spawn('setpriv', argv, { stdio: ['ignore', stdout, stderr, ...options.inherited, ...log] });
    child.on('error', () => {});
    for (const fd of [stdout, stderr, ...log]) libc.close(fd);
    if (child.pid === undefined) throw new MachineError('host', 'cannot start setpriv: install util-linux');
    this.#child = child;
    this.#pidFd = libc.pidfdOpen(child.pid);
    for (const fd of this.#readers.keys()) this.#loop.add(fd, libc.EPOLLIN, () => this.#receive(fd));
    this.#loop.add(this.#pidFd, libc.EPOLLIN, () => this.#ended());
  }

  /**
   * Returns the child's end. A pipe, unlike a socket, packs single-byte writes into whole pages.
   */
  #openStream(reader: (bytes: Buffer) => void): number {
    const [ours, theirs] = libc.createPipe();
    libc.fcntl(ours, libc.F_SETFL, libc.O_NONBLOCK);
    this.#readers.set(ours, reader);
    return theirs;
  }

  /** Returns false if there is nothing to read now. */
  #receive(fd: number): boolean {
    const count = libc.read(fd, this.#chunk, CHUNK);
    // End of the stream. The pidfd reports the end of the child.
    if (count === 0) this.#loop.remove(fd);
    if (count <= 0) return false;
    this.#readers.get(fd)?.(this.#chunk.subarray(0, count));
    return true;
  }

  #ended(): void {
    this.#loop.remove(this.#pidFd);
    for (const fd of this.#readers.keys()) while (this.#receive(fd));
    const { exitCode, signal } = this.#reap();
    this.#options.onEnd({
      exitCode,
      outcome: exitCode === undefined ? `signal ${signal}` : `exit code ${exitCode}`,
      stderr: this.#stderr.replace(/[^\x20-\x7e\n]+/g, ' ').trim(),
    });
  }

  #reap(): { exitCode?: number | undefined; signal?: number | undefined } {
    // siginfo_t: si_code at byte 8, si_status at byte 24.
    const info = new Int32Array(32);
    const result = libc.waitid(libc.P_PIDFD, this.#pidFd, info, libc.WEXITED);
    const [code, status] = [info[2], info[6]];
    if (result === 0) return code === libc.CLD_EXITED ? { exitCode: status } : { signal: status };
    // A thread that returns to Node's event loop finds that Node.js has reaped the child.
    const { exitCode, signalCode } = this.#child;
    return signalCode === null ? { exitCode: exitCode ?? undefined } : { signal: os.signals[signalCode] };
  }

  #signal(signal: number): void {
    libc.signalProcess(this.#pidFd, signal);
  }

  /** The descriptor that stands for the process (pidfd_open(2)). */
  get pidFd(): number {
    return this.#pidFd;
  }

  /** Suspends the process. On return, none of its threads runs, or the process has ended. */
  suspend(): void {
    this.#signal(libc.SIGSTOP);
    libc.waitid(libc.P_PIDFD, this.#pidFd, new Int32Array(32), libc.WSTOPPED | libc.WEXITED | libc.WNOWAIT);
  }

  /** Lets a suspended process run again. */
  resume(): void {
    this.#signal(libc.SIGCONT);
  }

  /** Kills the process. Its end is reported as any other. */
  kill(): void {
    this.#signal(libc.SIGKILL);
  }

  /** Kills the process. It may still be exiting when this returns. */
  [Symbol.dispose](): void {
    this.#signal(libc.SIGKILL);
    for (const fd of [...this.#readers.keys(), this.#pidFd]) {
      this.#loop.remove(fd);
      libc.close(fd);
    }
  }
}
