// The host side of the socket device, compatible with Firecracker. A guest's connection to host
// port N goes to the unix socket `${path}_N`. A host process connects to the unix socket `path`,
// sends `CONNECT port\n`, and reaches the guest's port.
import { unlinkSync } from 'node:fs';
import type { EventLoop } from '../../host/event-loop.js';
import type { HostFiles } from '../../host/files.js';
import * as libc from '../../host/libc.js';
import { MachineError } from '../../machine.js';

/** `sun_path` holds 107 bytes, and `_4294967295` is added to the path. */
const MAX_PATH = 107 - 11;
const BACKLOG = 128;
const MAX_HANDSHAKES = 64;
/** `CONNECT 4294967295\n`. */
const MAX_LINE = 19;

/** Listens at `path`, reads each client's CONNECT line, and passes the socket on. */
export class HostListener implements Disposable {
  readonly #path: string;
  readonly #fd: number;
  readonly #lines = new Map<number, string>();
  readonly #byte = new Uint8Array(1);
  #loop: EventLoop | undefined;
  #accepting = false;
  #onConnect: (fd: number, guestPort: number) => void = () => {};

  /**
   * @throws MachineError `bad-spec` for a path that is too long; `host` if the socket cannot be
   * created
   */
  constructor(path: string, files: HostFiles) {
    const length = Buffer.byteLength(path);
    if (length > MAX_PATH) throw new MachineError('bad-spec', `vsock path is longer than ${MAX_PATH} bytes: ${path}`);
    this.#path = path;
    try {
      this.#fd = files.listen(path, libc.SOCK_STREAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC, BACKLOG);
    } catch (cause) {
      if (!(cause instanceof libc.SystemError)) throw cause;
      throw new MachineError('host', `cannot create vsock socket ${path}: ${cause.code}`, { cause });
    }
  }

  /**
   * Starts calling `onConnect` with each socket that asked for a guest port. The callee owns the
   * socket.
   */
  start(loop: EventLoop, onConnect: (fd: number, guestPort: number) => void): void {
    this.#loop = loop;
    this.#onConnect = onConnect;
    this.resume();
  }

  /** Accepts again after running out of descriptors. */
  resume(): void {
    if (this.#accepting || this.#loop === undefined) return;
    this.#loop.add(this.#fd, libc.EPOLLIN, () => this.#accept());
    this.#accepting = true;
  }

  #accept(): void {
    const fd = libc.accept4(this.#fd, null, null, libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC);
    if (fd < 0) {
      const error = libc.errno();
      if (error === libc.EAGAIN || error === libc.EINTR) return;
      // Out of descriptors: the listener would stay readable and spin.
      this.#loop?.remove(this.#fd);
      this.#accepting = false;
      return;
    }
    if (this.#lines.size >= MAX_HANDSHAKES) {
      libc.close(fd);
      return;
    }
    this.#lines.set(fd, '');
    this.#loop?.add(fd, libc.EPOLLIN, () => this.#readLine(fd));
  }

  /** Reads byte by byte, and nothing after the line: the rest belongs to the stream. */
  #readLine(fd: number): void {
    let line = this.#lines.get(fd) ?? '';
    while (line.length < MAX_LINE && !line.endsWith('\n')) {
      const count = libc.read(fd, this.#byte, 1);
      if (count < 0 && (libc.errno() === libc.EAGAIN || libc.errno() === libc.EINTR)) {
        this.#lines.set(fd, line);
        return;
      }
      if (count <= 0) break;
      line += String.fromCharCode(this.#byte[0]!);
    }
    this.#loop?.remove(fd);
    this.#lines.delete(fd);
    const port = Number(/^CONNECT (\d{1,10})\n$/.exec(line)?.[1] ?? Number.NaN);
    if (port < 2 ** 32) this.#onConnect(fd, port);
    else libc.close(fd);
  }

  /** Leaves the loop and drops clients that have not sent their line. */
  stop(): void {
    for (const fd of this.#lines.keys()) {
      this.#loop?.remove(fd);
      libc.close(fd);
    }
    this.#lines.clear();
    if (this.#accepting) this.#loop?.remove(this.#fd);
    this.#accepting = false;
    this.#loop = undefined;
  }

  [Symbol.dispose](): void {
    this.stop();
    libc.close(this.#fd);
    try {
      unlinkSync(this.#path);
    } catch {
      // Its folder may be gone already.
    }
  }
}
