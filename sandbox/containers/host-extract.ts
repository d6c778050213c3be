// Extracts a tar archive from a guest into files of the host. The guest is hostile. Everything is
// made in a new folder of our own, and the parent of an entry must be a directory that this archive
// made, so no link leads out of the folder.
//
// The reader is that of the image store. The one of the `tar` package decompresses any input that
// begins like gzip, which cannot be turned off, and skips sparse entries without an error.
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  symlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TarEntry, TarReader } from '../../images/index.js';
import { removeTree } from '../../libc/trees.js';
import { SandboxError } from '../errors.js';

/** Extracts an archive, chunk by chunk, into an empty folder. */
export class HostExtractor implements Disposable {
  readonly #folder: string;
  readonly #keepOwners: boolean;
  readonly #reader: TarReader;
  /** Relative paths of what this archive has made. */
  readonly #directories = new Map<string, TarEntry | undefined>([['', undefined]]);
  readonly #files = new Set<string>();
  #open: { fd: number; path: string; entry: TarEntry } | undefined;

  /**
   * @param folder path of an empty folder that no other process uses
   * @param keepOwners gives files the owners of the archive
   */
  constructor(folder: string, keepOwners: boolean) {
    this.#folder = folder;
    this.#keepOwners = keepOwners;
    this.#reader = new TarReader({
      entry: (entry) => this.#make(entry),
      data: (offset, bytes) => {
        if (this.#open === undefined) return;
        for (let done = 0; done < bytes.length; ) {
          done += writeSync(this.#open.fd, bytes, done, bytes.length - done, offset + done);
        }
      },
    });
  }

  /** @throws ImageError for a damaged archive, SandboxError `tool` for a forbidden entry */
  write(chunk: Buffer): void {
    this.#reader.write(chunk);
  }

  /** Ends the archive. @throws ImageError if it is incomplete */
  end(): void {
    this.#reader.end();
    this.#finishFile();
    // Times and modes of directories come last: until now files were made in them.
    for (const [path, entry] of [...this.#directories].reverse()) {
      if (entry === undefined) continue;
      const place = join(this.#folder, path);
      if (this.#keepOwners) lchownSync(place, entry.uid, entry.gid);
      chmodSync(place, entry.mode & 0o1777);
      utimesSync(place, entry.mtime.seconds, entry.mtime.seconds);
    }
  }

  [Symbol.dispose](): void {
    if (this.#open !== undefined) closeSync(this.#open.fd);
    this.#open = undefined;
  }

  #make(entry: TarEntry): void {
    this.#finishFile();
    const path = cleaned(entry.path);
    const place = join(this.#folder, path);
    if (entry.type === 'directory') {
      if (path !== '' && !this.#directories.has(path)) {
        this.#checkNew(path);
        mkdirSync(place, { mode: 0o700 });
      }
      this.#directories.set(path, path === '' ? undefined : entry);
      return;
    }
    this.#checkNew(path);
    this.#files.add(path);
    switch (entry.type) {
      case 'file': {
        const fd = openSync(place, 'wx', 0o600);
        this.#open = { fd, path: place, entry };
        return;
      }
      case 'symlink':
        if (entry.linkname === '') throw refused(`${printable(path)} is a link without a target`);
        symlinkSync(bytesOf(entry.linkname), place);
        break;
      case 'link': {
        const target = cleaned(entry.linkname);
        if (target === path || !this.#files.has(target))
          throw refused(`${printable(path)} is a hard link to a file outside of it`);
        linkSync(join(this.#folder, target), place);
        return;
      }
      default:
        // Devices and pipes are left out.
        this.#files.delete(path);
        return;
    }
    if (this.#keepOwners) lchownSync(place, entry.uid, entry.gid);
    lutimesSync(place, entry.mtime.seconds, entry.mtime.seconds);
  }

  #finishFile(): void {
    if (this.#open === undefined) return;
    const { fd, path, entry } = this.#open;
    this.#open = undefined;
    try {
      ftruncateSync(fd, entry.size);
    } finally {
      closeSync(fd);
    }
    if (this.#keepOwners) lchownSync(path, entry.uid, entry.gid);
    // A program of the container must not run with another user's rights here.
    chmodSync(path, entry.mode & 0o1777);
    utimesSync(path, entry.mtime.seconds, entry.mtime.seconds);
  }

  #checkNew(path: string): void {
    const parent = path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
    if (!this.#directories.has(parent)) throw refused(`${printable(path)} is in no directory of it`);
    if (path === '' || this.#directories.has(path) || this.#files.has(path)) {
      throw refused(`${printable(path)} appears twice`);
    }
  }
}

/**
 * Moves extracted files to their destination. Directories are merged; other files are replaced.
 * @throws SandboxError `tool` if a directory would replace another file, or the reverse
 */
export function moveInto(from: string, to: string): void {
  const there = lstatSync(to, { throwIfNoEntry: false });
  const coming = lstatSync(from);
  if (there === undefined) {
    renameSync(from, to);
    return;
  }
  if (there.isDirectory() !== coming.isDirectory()) {
    throw new SandboxError('tool', `cannot overwrite ${there.isDirectory() ? 'directory' : 'file'} ${to}`);
  }
  if (!coming.isDirectory()) {
    renameSync(from, to);
    return;
  }
  for (const name of readdirSync(from)) moveInto(join(from, name), join(to, name));
  removeTree(from);
}

/**
 * Normalizes a path: without `.` and doubled slashes, decoded as UTF-8.
 * @throws SandboxError `tool` if it has `..`
 */
function cleaned(path: string): string {
  const parts = bytesOf(path)
    .split('/')
    .filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw refused(`${printable(path)} leads through '..'`);
  return parts.join('/');
}

/**
 * Decodes a name of the reader, which has one character for each byte. Invalid UTF-8 is replaced.
 */
function bytesOf(text: string): string {
  return Buffer.from(text, 'latin1').toString();
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, '?').slice(0, 200);
}

function refused(what: string): SandboxError {
  return new SandboxError('tool', `the guest's archive is refused: ${what}`);
}
