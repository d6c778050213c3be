// A file that a machine boots from, read straight into guest memory.
import { closeSync, constants, fstatSync, readSync } from 'node:fs';
import { messageOf } from '../../errors/index.js';
import type { HostFiles } from '../host/files.js';
import * as libc from '../host/libc.js';
import { MachineError, type MachineErrorCode } from '../machine.js';

/**
 * An open regular file. Every failure is a {@link MachineError} with the code that the file was
 * opened with.
 */
export class BootFile implements Disposable {
  readonly #fd: number;
  /** Bytes. */
  readonly size: number;

  /** @param what the file's part in the boot, for messages: `kernel`, `initramfs` */
  constructor(
    readonly what: string,
    readonly path: string,
    readonly code: MachineErrorCode,
    files: HostFiles,
  ) {
    // Non-blocking: opening a FIFO would wait for a writer.
    this.#fd = files.open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (this.#fd < 0) {
      const cause = new libc.SystemError('open', -this.#fd);
      const reason = cause.errno === libc.ENOENT ? 'no such file' : cause.message;
      throw new MachineError(code, `${what} ${path}: ${reason}`, { cause });
    }
    const stat = fstatSync(this.#fd);
    if (!stat.isFile()) {
      closeSync(this.#fd);
      throw this.error('not a regular file');
    }
    this.size = stat.size;
  }

  /** Returns an error about this file. `reason` follows its name in the message. */
  error(reason: string, cause?: unknown): MachineError {
    return new MachineError(this.code, `${this.what} ${this.path}: ${reason}`, { cause });
  }

  /**
   * Fills `target` with the bytes at `position`. @throws MachineError if the file ends before that
   */
  read(position: number, target: Uint8Array): void {
    if (position + target.length > this.size) throw this.error('truncated');
    for (let done = 0; done < target.length; ) {
      let count: number;
      try {
        count = readSync(this.#fd, target, done, target.length - done, position + done);
      } catch (error) {
        throw this.error(messageOf(error), error);
      }
      if (count === 0) throw this.error('truncated');
      done += count;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
