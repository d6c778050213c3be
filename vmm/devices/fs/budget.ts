// The bound on the bytes and files of a share. What the share has is counted in memory that every
// machine with the share has (shared-count.ts). Each operation compares the host's figures (blocks,
// links) before and after it, under the lock of the count.
import { constants } from 'node:os';
import type { ShareBudget } from '../../machine.js';
import { Deletions } from './deletions.js';
import { BLOCK, FileBlocks, type Range } from './file-blocks.js';
import type { Host } from './host.js';
import { SharedCount } from './shared-count.js';

const { EDQUOT, EEXIST } = constants.errno;

/** A file that the guest knows. */
export interface CountedFile {
  /** O_PATH, or -1. */
  fd: number;
  /** Descriptors of its open files. */
  readonly openFds: number[];
  /** It has no name: the budget has it until its last descriptor is closed. */
  orphan: boolean;
  /** Bytes that this machine has in the count for it as an orphan. */
  held: number;
}

function hasDescriptor({ fd, openFds }: CountedFile): boolean {
  return fd >= 0 || openFds.length > 0;
}

export class Budget implements Disposable {
  readonly #host: Host;
  readonly #blocks: FileBlocks;
  readonly #count: SharedCount;
  readonly #deletions: Deletions;
  readonly #mostBytes: number;
  readonly #mostFiles: number;

  /**
   * Takes ownership of `countFd`, the file with the count.
   * @param fd the share's root
   */
  constructor(host: Host, fd: number, countFd: number, budget: ShareBudget) {
    const { bytes = Number.POSITIVE_INFINITY, inodes, slot = 0 } = budget;
    this.#host = host;
    this.#blocks = new FileBlocks(host, fd);
    this.#count = new SharedCount(countFd);
    this.#deletions = new Deletions(this.#count, slot);
    this.#mostBytes = bytes;
    this.#mostFiles = inodes ?? Number.POSITIVE_INFINITY;
  }

  /** What the share has, and how much it may have. */
  read(): { bytes: number; files: number; mostBytes: number; mostFiles: number } {
    this.#count.read();
    const { bytes, files } = this.#count;
    return { bytes, files, mostBytes: this.#mostBytes, mostFiles: this.#mostFiles };
  }

  /** Runs `act`, which allocates in the range of the file, whose descriptor is `fd`. */
  grow(file: CountedFile, fd: number, range: Range, act: () => number): number {
    this.#count.begin();
    try {
      return this.#missing(fd, range) > this.#room ? -EDQUOT : this.#countedFile(file, fd, act);
    } finally {
      this.#count.end();
    }
  }

  /** Runs `act`, which frees blocks of the file. */
  shrink(file: CountedFile, fd: number, act: () => number): number {
    this.#count.begin();
    try {
      const before = this.#blocks.dataOf(fd);
      const result = act();
      this.#change(file, this.#blocks.dataOf(fd) - before);
      return result;
    } finally {
      this.#count.end();
    }
  }

  /** Runs `act`, which may free what `grow` and `changeAttribute` have counted. */
  settle(file: CountedFile, fd: number, act: () => number): number {
    this.#count.begin();
    try {
      return this.#countedFile(file, fd, act);
    } finally {
      this.#count.end();
    }
  }

  /** Runs `act`, which gives the file an extended attribute of `size` bytes. */
  changeAttribute(file: CountedFile, fd: number, size: number, act: () => number): number {
    this.#count.begin();
    try {
      return this.#room < Math.max(size, BLOCK) ? -EDQUOT : this.#countedFile(file, fd, act);
    } finally {
      this.#count.end();
    }
  }

  /**
   * Runs `act`, which writes to a file as many bytes as it is told: fewer than `length` if there is
   * no room for all.
   * @param offset undefined for the end of the file
   * @param whole all bytes are written, or none
   */
  write(
    file: CountedFile,
    fd: number,
    offset: number | undefined,
    length: number,
    whole: boolean,
    act: (length: number) => number,
  ): number {
    this.#count.begin();
    try {
      let allowed = length;
      if (this.#room < length + 2 * BLOCK) {
        const start = offset ?? this.#blocks.sizeOf(fd);
        if (this.#missing(fd, { offset: start, length }) > this.#room) {
          const end = Math.floor((start + this.#room) / BLOCK) * BLOCK;
          if (whole || end <= start) return -EDQUOT;
          allowed = Math.min(end - start, length);
        }
      }
      return this.#countedFile(file, fd, () => {
        this.prepare(fd, offset, allowed);
        return act(allowed);
      });
    } finally {
      this.#count.end();
    }
  }

  /** {@link FileBlocks.prepare}, to be called in `grow` and `write`. */
  prepare(fd: number, offset: number | undefined, length: number): void {
    this.#blocks.prepare(fd, offset, length);
  }

  /**
   * Runs `act`, which adds a name to a directory.
   * @param address of the name; 0 if the new file gets none
   * @param isNew a file is made, and not only a name for one
   */
  add(directory: number, address: number, isNew: boolean, act: () => number): number {
    this.#count.begin();
    try {
      if (this.#room < BLOCK || (isNew && this.#count.files >= this.#mostFiles)) {
        return address !== 0 && this.#host.statxName(directory, address) === 0 ? -EEXIST : -EDQUOT;
      }
      const result = this.#counted(directory, act);
      if (result < 0 || !isNew) return result;
      this.#count.addFiles(1);
      const error = address === 0 ? this.#host.statx(result) : this.#host.statxName(directory, address);
      if (error === 0) this.#count.addBytes(this.#blocks.statBytes());
      return result;
    } finally {
      this.#count.end();
    }
  }

  /**
   * Runs `act`, which removes a name from a directory.
   * @param file the file, if the guest knows it
   */
  remove(directory: number, address: number, file: CountedFile | undefined, act: () => number): number {
    this.#count.begin();
    try {
      const last = this.#host.statxName(directory, address) === 0 && this.#blocks.isLastName();
      const bytes = last ? this.#dataAt(directory, address, file) : 0;
      const result = this.#counted(directory, act);
      if (result === 0 && last) this.#lose(file, bytes);
      return result;
    } finally {
      this.#count.end();
    }
  }

  /**
   * Runs `act`, which renames a file.
   * @param replaced the file at the new name, if the guest knows it
   * @param exchanges both names stay
   * @param leaves a new file is made at the old name (RENAME_WHITEOUT)
   */
  move(
    from: { fd: number; address: number },
    to: { fd: number; address: number },
    { replaced, exchanges, leaves }: { replaced: CountedFile | undefined; exchanges: boolean; leaves: boolean },
    act: () => number,
  ): number {
    this.#count.begin();
    try {
      const moving = this.#host.statxName(from.fd, from.address) === 0 ? this.#blocks.identity() : '';
      const exists = this.#host.statxName(to.fd, to.address) === 0;
      const last = exists && !exchanges && this.#blocks.isLastName() && this.#blocks.identity() !== moving;
      const bytes = last ? this.#dataAt(to.fd, to.address, replaced) : 0;
      if ((!exists || leaves) && this.#room < BLOCK) return -EDQUOT;
      if (leaves && this.#count.files >= this.#mostFiles) return -EDQUOT;
      const result = this.#counted(from.fd, () => this.#counted(to.fd, act, from.fd));
      if (result < 0) return result;
      if (leaves) this.#count.addFiles(1);
      if (last) this.#lose(replaced, bytes);
      return result;
    } finally {
      this.#count.end();
    }
  }

  /** A file that `add` made gets no name, and `file` has the descriptor `fd` of it. */
  hold(file: CountedFile, fd: number): void {
    this.#count.begin();
    try {
      this.#hold(file, this.#blocks.bytesOf(fd));
    } finally {
      this.#count.end();
    }
  }

  /** The file got a name again. */
  named(file: CountedFile): void {
    if (!file.orphan) return;
    this.#count.begin();
    this.#unhold(file);
    this.#count.end();
  }

  /** The last descriptor of a file without a name is about to be closed. */
  drop(file: CountedFile): void {
    this.#count.begin();
    try {
      const bytes = file.held;
      this.#unhold(file);
      this.#deletions.add(bytes, 1);
    } finally {
      this.#count.end();
    }
  }

  /** Undoes an `add` of a file without a name, with the descriptor `fd`. */
  undo(fd: number): void {
    this.#count.begin();
    this.#count.addFiles(-1);
    this.#count.addBytes(-this.#blocks.bytesOf(fd));
    this.#count.end();
  }

  /**
   * Looks for files that other machines have deleted, and takes out of the count what no machine has.
   * To be called now and then.
   * @param find calls {@link found} for each file without a name that this machine has open
   */
  look(find: () => void): void {
    if (!this.#deletions.hasWork) return;
    this.#count.begin();
    try {
      this.#deletions.look(find);
      this.#deletions.advance();
    } finally {
      this.#count.end();
    }
  }

  /** Within {@link look}: counts a file that another machine has deleted. */
  found(file: CountedFile, fd: number): void {
    const bytes = this.#blocks.dataOf(fd);
    this.#count.addBytes(bytes);
    this.#count.addFiles(1);
    this.#hold(file, bytes);
  }

  #hold(file: CountedFile, bytes: number): void {
    file.orphan = true;
    file.held = bytes;
    this.#deletions.hold(bytes, 1);
  }

  #unhold(file: CountedFile): void {
    this.#deletions.hold(-file.held, -1);
    file.orphan = false;
    file.held = 0;
  }

  /** A file lost its last name. It is gone, or is as soon as every machine has closed it. */
  #lose(file: CountedFile | undefined, bytes: number): void {
    if (file === undefined || !hasDescriptor(file)) this.#deletions.add(bytes, 1);
    else this.#hold(file, this.#blocks.dataOf(file.openFds[0] ?? file.fd));
  }

  /** Counts blocks that the file got or lost. */
  #change(file: CountedFile, bytes: number): void {
    let counted = bytes;
    if (file.orphan) {
      // Other machines have a part of their own in the count.
      counted = Math.max(bytes, -file.held);
      file.held += counted;
      this.#deletions.hold(counted, 0);
    } else if (bytes < 0 && this.#deletions.isShared && this.#blocks.isNameless()) {
      // This machine has not counted it yet as its own.
      counted = 0;
    }
    this.#count.addBytes(counted);
  }

  /** Runs `act`, and counts the blocks that the file got or lost. */
  #countedFile(file: CountedFile, fd: number, act: () => number): number {
    const before = this.#blocks.bytesOf(fd);
    const result = act();
    this.#change(file, this.#blocks.bytesOf(fd) - before);
    return result;
  }

  /** Runs `act`, and counts the blocks that `fd` got or lost, unless it is `counted` already. */
  #counted(fd: number, act: () => number, counted = -1): number {
    if (fd === counted) return act();
    const before = this.#blocks.bytesOf(fd);
    const result = act();
    this.#count.addBytes(this.#blocks.bytesOf(fd) - before);
    return result;
  }

  get #room(): number {
    return Math.max(this.#mostBytes - this.#count.bytes, 0);
  }

  #missing(fd: number, range: Range): number {
    return this.#blocks.missing(fd, range, this.#room);
  }

  /** Bytes of the file with this name, which was looked at last; 0 if a descriptor of it is open. */
  #dataAt(directory: number, address: number, file: CountedFile | undefined): number {
    return file !== undefined && hasDescriptor(file) ? 0 : this.#blocks.dataAt(directory, address);
  }

  [Symbol.dispose](): void {
    this.#count[Symbol.dispose]();
  }
}
