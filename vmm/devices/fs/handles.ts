// The guest's open files and directories (FUSE file handles): small numbers, each with a
// descriptor.
import { constants } from 'node:os';
import type { Host } from './host.js';
import type { Inode, Share } from './inode.js';
import type { Inodes } from './inodes.js';
import type { SavedHandle } from './state.js';

const { EBADF, ENFILE } = constants.errno;

export interface OpenFile {
  readonly handle: number;
  readonly inode: Inode;
  readonly fd: number;
  readonly isDirectory: boolean;
  /** Flags of open(2) on the host. */
  readonly flags: number;
  /** Of a directory: the position of its descriptor, a cookie of the host. */
  position: bigint;
}

export class Handles {
  readonly #host: Host;
  readonly #inodes: Inodes;
  readonly #limit: number;
  /** By handle. 0 is no handle. */
  readonly #files: (OpenFile | undefined)[] = [undefined];
  readonly #free: number[] = [];

  constructor(host: Host, inodes: Inodes, limit: number) {
    this.#host = host;
    this.#inodes = inodes;
    this.#limit = limit;
  }

  get count(): number {
    return this.#files.length - 1 - this.#free.length;
  }

  /**
   * Takes ownership of `fd`. Returns the handle; if there are too many, closes `fd` and returns the
   * negative errno.
   */
  add(inode: Inode, fd: number, flags: number, isDirectory: boolean): number {
    if (this.count >= this.#limit) {
      this.#host.close(fd);
      return -ENFILE;
    }
    const handle = this.#free.pop() ?? this.#files.length;
    this.#files[handle] = { handle, inode, fd, isDirectory, flags, position: 0n };
    this.#inodes.opened(inode, fd);
    return handle;
  }

  /** Returns the open regular file of a handle. */
  file(handle: number): OpenFile | undefined {
    const file = this.#files[handle];
    return file?.isDirectory === false ? file : undefined;
  }

  directory(handle: number): OpenFile | undefined {
    const file = this.#files[handle];
    return file?.isDirectory === true ? file : undefined;
  }

  /** Closes an open file or directory. Returns 0 or the negative errno. */
  release(handle: number, isDirectory: boolean): number {
    const file = this.#files[handle];
    if (file === undefined || file.isDirectory !== isDirectory) return -EBADF;
    this.#files[handle] = undefined;
    this.#free.push(handle);
    this.#inodes.closing(file.inode);
    this.#host.close(file.fd);
    this.#inodes.closed(file.inode, file.fd);
    return 0;
  }

  /** Closes what is open of a share. */
  releaseShare(share: Share): void {
    for (const file of this.#files) {
      if (file?.inode.share === share) this.release(file.handle, file.isDirectory);
    }
  }

  clear(): void {
    for (const file of this.#files) if (file !== undefined) this.release(file.handle, file.isDirectory);
    this.#files.length = 1;
    this.#free.length = 0;
  }

  save(): SavedHandle[] {
    return this.#files.flatMap((file) => {
      if (file === undefined) return [];
      const { handle, inode, flags, isDirectory } = file;
      return [{ handle, node: inode.node, flags, isDirectory }];
    });
  }

  /** Restores a saved handle with a new descriptor. */
  restore({ handle, flags, isDirectory }: SavedHandle, inode: Inode, fd: number): void {
    while (this.#files.length <= handle) {
      if (this.#files.length < handle) this.#free.push(this.#files.length);
      this.#files.push(undefined);
    }
    this.#files[handle] = { handle, inode, fd, isDirectory, flags, position: 0n };
    this.#inodes.opened(inode, fd);
  }
}
