// The files and sockets of the host that a machine uses. Its owner opens them and sends the
// descriptors: the machine process opens no path of the host.
import { closeSync } from 'node:fs';
import { fileName, listenerName, MachineError } from '../machine.js';
import { firstKept } from './kept-descriptors.js';
import * as libc from './libc.js';

/** Where devices get their files from. The caller owns each descriptor that it gets. */
export interface HostFiles {
  /** The file at `path`. Returns the negative errno if it cannot be opened. */
  open(path: string, flags: number): number;
  /** A unix socket that listens at `path`. @throws libc.SystemError, MachineError */
  listen(path: string, type: number, backlog: number): number;
  /** What the owner sent under this name. @throws MachineError if it sent nothing */
  take(name: string): number;
  /**
   * Connects to the unix socket of a host port of the vsock device at `path`.
   * @param done gets a non-blocking socket, which it owns, or the negated errno
   */
  connect(path: string, port: number, done: (fd: number) => void): void;
}

/**
 * Connects to the unix socket of a host port of the vsock device at `path`.
 * @returns a non-blocking socket, or the negated errno
 */
export function connectToPort(path: string, port: number): number {
  const fd = libc.socket(libc.AF_UNIX, libc.SOCK_STREAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC, 0);
  if (fd < 0) return -libc.errno();
  const address = libc.unixAddress(`${path}_${port}`);
  // A unix socket connects at once or fails. EAGAIN, for a full backlog, counts as refused.
  if (libc.connect(fd, address, address.length) === 0) return fd;
  const errno = libc.errno();
  libc.close(fd);
  return -errno;
}

/** Opens paths in this process, for programs that are machine and owner in one. */
export const OWN_FILES: HostFiles = {
  open(path, flags) {
    const fd = libc.open(path, flags | libc.O_CLOEXEC, 0);
    return fd < 0 ? -libc.errno() : fd;
  },
  listen(path, type, backlog) {
    const fd = libc.check(libc.socket(libc.AF_UNIX, type, 0), 'socket');
    try {
      const address = libc.unixAddress(path);
      libc.check(libc.bind(fd, address, address.length), 'bind');
      libc.check(libc.listen(fd, backlog), 'listen');
      return fd;
    } catch (error) {
      libc.close(fd);
      throw error;
    }
  },
  take(name) {
    throw missing(name);
  },
  connect: (path, port, done) => done(connectToPort(path, port)),
};

/** What the owner sent, and what it connects when asked. */
export class GivenFiles implements HostFiles {
  readonly #descriptors = new Map<string, number>();
  #isKept = false;
  readonly #askForPort: (port: number, done: (fd: number) => void) => void;

  /** @param askForPort asks the owner, which knows the path, as {@link HostFiles.connect} does */
  constructor(askForPort: (port: number, done: (fd: number) => void) => void) {
    this.#askForPort = askForPort;
  }

  /** From now on, files that are opened get numbers that calls for shares do not reach. */
  keepOpened(): void {
    this.#isKept = true;
  }

  /** Takes ownership of the descriptors. A later one of the same name replaces an earlier one. */
  add(names: readonly string[], descriptors: readonly number[]): void {
    if (names.length !== descriptors.length) {
      for (const fd of descriptors) closeSync(fd);
      throw new MachineError('bad-spec', `${descriptors.length} open files came for ${names.length} names`);
    }
    for (const [index, name] of names.entries()) {
      this.drop(name);
      this.#descriptors.set(name, descriptors[index]!);
    }
  }

  /** Returns the descriptor of this name, which the caller owns from now on. @throws MachineError */
  take(name: string): number {
    const fd = this.#descriptors.get(name);
    if (fd === undefined) throw missing(name);
    this.#descriptors.delete(name);
    return fd;
  }

  /** Closes the descriptor of this name, if there is one. */
  drop(name: string): void {
    const fd = this.#descriptors.get(name);
    if (fd !== undefined) libc.close(fd);
    this.#descriptors.delete(name);
  }

  /** Closes what is left: the machine has taken what it needs. */
  closeRest(): void {
    for (const name of [...this.#descriptors.keys()]) this.drop(name);
  }

  /** The descriptor of this name, which stays here. @throws MachineError */
  #get(name: string): number {
    const fd = this.#descriptors.get(name);
    if (fd === undefined) throw missing(name);
    return fd;
  }

  open(path: string, flags: number): number {
    const given = this.#get(fileName(path, (flags & libc.O_RDWR) === 0));
    const fd = libc.fcntl(given, libc.F_DUPFD_CLOEXEC, this.#isKept ? firstKept() : 0);
    return fd < 0 ? -libc.errno() : fd;
  }

  listen(path: string): number {
    return this.take(listenerName(path));
  }

  connect(_path: string, port: number, done: (fd: number) => void): void {
    this.#askForPort(port, done);
  }
}

function missing(name: string): MachineError {
  return new MachineError('bad-spec', `the owner of the machine did not send: ${name}`);
}
