// The connections that an owner has made for its machine with the members of a private network. The
// machine has the sockets, and so has each member that accepted one; either may be in a guest's hand and
// keep them. So the owner keeps a descriptor of each, and ends the connection when its own guest or the
// other member leaves: a member is there as long as its socket is in the network's folder.
//
// Of two members, the owner of the one that came later made their connection. So each connection is ended
// by an owner, whichever of the two leaves.
import { type FSWatcher, statSync, watch } from 'node:fs';
import { join } from 'node:path';
import * as libc from '../host/libc.js';

/** Milliseconds between looks at a folder that the host cannot watch. */
const LOOK_TIME = 1000;

/** A connection with another member. */
export interface MadeLink {
  fd: number;
  /** The member's socket in the folder, as {@link identityOf} tells it. */
  identity: string;
}

/** Tells the socket at `path` from one that takes its place later. Undefined if there is none. */
export function identityOf(path: string): string | undefined {
  const status = statSync(path, { bigint: true, throwIfNoEntry: false });
  return status === undefined ? undefined : `${status.ino} ${status.birthtimeNs}`;
}

export class MadeLinks implements Disposable {
  readonly #folder: string;
  /** By the member's address. */
  readonly #links = new Map<string, MadeLink>();
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param links by the member's address. Their descriptors stay the caller's */
  constructor(folder: string, links: ReadonlyMap<string, MadeLink>) {
    this.#folder = folder;
    try {
      for (const [address, { fd, identity }] of links) {
        this.#links.set(address, { fd: libc.check(libc.fcntl(fd, libc.F_DUPFD_CLOEXEC, 0), 'fcntl'), identity });
      }
      if (links.size > 0) this.#watch();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    // A member may have left before.
    this.#look();
  }

  #watch(): void {
    try {
      this.#watcher = watch(this.#folder, { persistent: false }, () => this.#look());
      this.#watcher.on('error', () => this.#lookNowAndThen());
    } catch {
      // Users have few watches.
      this.#lookNowAndThen();
    }
  }

  #lookNowAndThen(): void {
    this.#watcher?.close();
    this.#timer ??= setInterval(() => this.#look(), LOOK_TIME).unref();
  }

  /** Ends the connections with members that have left. */
  #look(): void {
    for (const [address, { identity }] of this.#links) {
      if (identityOf(join(this.#folder, address)) !== identity) this.#end(address);
    }
    if (this.#links.size === 0) this.#stop();
  }

  #end(address: string): void {
    const fd = this.#links.get(address)?.fd;
    this.#links.delete(address);
    if (fd === undefined) return;
    libc.shutdown(fd, libc.SHUT_RDWR);
    libc.close(fd);
  }

  #stop(): void {
    this.#watcher?.close();
    clearInterval(this.#timer);
  }

  /** Ends all connections. */
  [Symbol.dispose](): void {
    for (const address of [...this.#links.keys()]) this.#end(address);
    this.#stop();
  }
}
