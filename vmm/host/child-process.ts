// A child of the machine process, which blocks in its event loop: everything about the child is a file descriptor.
import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { MachineError } from '../machine.js';
import type { EventLoop } from './event-loop.js';
import * as libc from './libc.js';

const CHUNK = 65536;
/** Bytes of stderr kept to explain an end. */
const KEPT_STDERR = 4096;

/** The first of `inherited`'s descriptors in the child: behind stdin, stdout and stderr. */
export const FIRST_INHERITED_FD = 3;

/** How a child ended. */
export interface ChildEnd {
  /** Undefined when a signal ended it. */
  exitCode: number | undefined;
  /** `exit code 1`, `signal 9`. */
  outcome: string;
  /** The end of what it wrote to stderr, printable. */
  stderr: string;
}

export interface ChildOptions {
  /** Path of the program. */
  program: string;
  args: readonly string[];
  /** Descriptors that the child gets, numbered from 3 on. They may be closed when it has been started. */
  inherited: readonly number[];
  loop: EventLoop;
  onOutput(bytes: Uint8Array): void;
  /** Given: the child has a further descriptor to write to, behind those that it inherits. */
  onLog?(bytes: Uint8Array): void;
  /** It ended by itself. */
  onEnd(end: ChildEnd): void;
}

/** Path of a program in $PATH, or undefined. */
export function findProgram(name: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(':')
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** A running program. It ends with this process, however that ends. */
export class ChildProcess implements Disposable {
  readonly #loop: EventLoop;
  readonly #options: ChildOptions;
  readonly #pid: number;
  readonly #pidFd: number;
  /** What reads each of the child's streams. */
  readonly #readers = new Map<number, (bytes: Buffer) => void>();
  readonly #chunk = Buffer.alloc(CHUNK);
  #stderr = '';

  /** @throws MachineError `host` when it cannot be started; libc.SystemError. */
  constructor(options: ChildOptions) {
    this.#options = options;
    this.#loop = options.loop;
    const stdout = this.#openStream((bytes) => options.onOutput(bytes));
    const stderr = this.#openStream((bytes) => {
      this.#stderr = (this.#stderr + bytes.toString('latin1')).slice(-KEPT_STDERR);
    });
    const { onLog } = options;
    const log = onLog === undefined ? [] : [this.#openStream((bytes) => onLog(bytes))];
    // The parent-death signal outlives exec, and ends the child even when this process is killed.
    const argv = ['--pdeathsig', 'KILL', options.program, ...options.args];
    // Node's own events about the child never come: this thread does not return to its event loop.
    const child = spawn('setpriv', argv, { stdio: ['ignore', stdout, stderr, ...options.inherited, ...log] });
    child.on('error', () => {});
    for (const fd of [stdout, stderr, ...log]) libc.close(fd);
    if (child.pid === undefined) throw new MachineError('host', 'cannot start setpriv, which is of util-linux');
    this.#pid = child.pid;
    this.#pidFd = libc.pidfdOpen(child.pid);
    for (const fd of this.#readers.keys()) this.#loop.add(fd, libc.EPOLLIN, () => this.#receive(fd));
    this.#loop.add(this.#pidFd, libc.EPOLLIN, () => this.#ended());
  }

  /** The end for the child. Pipes, unlike sockets, hold a page of bytes that are written one by one. */
  #openStream(reader: (bytes: Buffer) => void): number {
    const [ours, theirs] = libc.createPipe();
    libc.fcntl(ours, libc.F_SETFL, libc.O_NONBLOCK);
    this.#readers.set(ours, reader);
    return theirs;
  }

  /** False when there is nothing to read now. */
  #receive(fd: number): boolean {
    const count = libc.read(fd, this.#chunk, CHUNK);
    // The end of a stream: what ended is told by the pidfd.
    if (count === 0) this.#loop.remove(fd);
    if (count <= 0) return false;
    this.#readers.get(fd)?.(this.#chunk.subarray(0, count));
    return true;
  }

  #ended(): void {
    this.#loop.remove(this.#pidFd);
    for (const fd of this.#readers.keys()) while (this.#receive(fd));
    // siginfo_t: si_code at 8, si_status at 24.
    const info = new Int32Array(32);
    libc.waitid(libc.P_PIDFD, this.#pidFd, info, libc.WEXITED);
    const [code, status] = [info[2], info[6]];
    const exited = code === libc.CLD_EXITED;
    this.#options.onEnd({
      exitCode: exited ? status : undefined,
      outcome: exited ? `exit code ${status}` : `signal ${status}`,
      stderr: this.#stderr.replace(/[^\x20-\x7e\n]+/g, ' ').trim(),
    });
  }

  /** Has it stand still: when this returns, none of its threads runs any more, or the process has ended. */
  suspend(): void {
    libc.kill(this.#pid, libc.SIGSTOP);
    libc.waitid(libc.P_PIDFD, this.#pidFd, new Int32Array(32), libc.WSTOPPED | libc.WEXITED | libc.WNOWAIT);
  }

  /** Lets a suspended process run on. */
  resume(): void {
    libc.kill(this.#pid, libc.SIGCONT);
  }

  /** Kills it. The process may still be on its way out when this returns. */
  [Symbol.dispose](): void {
    libc.kill(this.#pid, libc.SIGKILL);
    for (const fd of [...this.#readers.keys(), this.#pidFd]) {
      this.#loop.remove(fd);
      libc.close(fd);
    }
  }
}
