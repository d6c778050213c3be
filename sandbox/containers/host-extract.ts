// Extracts a tar archive from a guest into files of the host. The guest is hostile. Everything is
// made in a new folder of our own, and the parent of an entry must be a directory that this archive
// made. Another guest may write the folder around it: so each place is reached by the descriptor of
// its parent, which is opened without following a link.
//
// The reader is that of the image store. The one of the `tar` package decompresses any input that
// begins like gzip, which cannot be turned off, and skips sparse entries without an error.
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  futimesSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { type TarEntry, TarReader } from '../../images/index.js';
import { O_PATH, openat2, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS } from '../../libc/openat2.js';
import { OwnedDescriptor } from '../../libc/owned-descriptor.js';
import { removeTree } from '../../libc/trees.js';
import { SandboxError } from '../errors.js';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
const WITHIN = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;

/** A path that leads through no name but the last: `name` in an open directory. */
export function inDirectory(fd: number, name: string): string {
  return `/proc/self/fd/${fd}/${name}`;
}

/** Extracts an archive, chunk by chunk, into an empty folder. */
export class HostExtractor implements Disposable {
  /** The folder, opened with O_PATH. */
  readonly #folder: OwnedDescriptor;
  readonly #keepOwners: boolean;
  readonly #reader: TarReader;
  /** Relative paths of what this archive has made. */
  readonly #directories = new Map<string, TarEntry | undefined>([['', undefined]]);
  readonly #files = new Set<string>();
  #open: { fd: number; entry: TarEntry } | undefined;

  /**
   * @param folder path of an empty folder that no other process uses
   * @param keepOwners gives files the owners of the archive
   */
  constructor(folder: string, keepOwners: boolean) {
    this.#folder = new OwnedDescriptor(openSync(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW));
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
      const fd = openat2(this.#folder.fd, path, O_RDONLY | O_DIRECTORY, WITHIN);
      try {
        this.#finish(fd, entry);
      } finally {
        closeSync(fd);
      }
    }
  }

  #finish(fd: number, { uid, gid, mode, mtime }: TarEntry): void {
    if (this.#keepOwners) fchownSync(fd, uid, gid);
    // A program of the container must not run with another user's rights here.
    fchmodSync(fd, mode & 0o1777);
    futimesSync(fd, mtime.seconds, mtime.seconds);
  }

  /** Calls `act` with the place of an entry. */
  #at<T>(path: string, act: (place: string) => T): T {
    const end = path.lastIndexOf('/');
    const parent = openat2(this.#folder.fd, end < 0 ? '.' : path.slice(0, end), O_PATH | O_DIRECTORY, WITHIN);
    try {
      return act(inDirectory(parent, path.slice(end + 1)));
    } finally {
      closeSync(parent);
    }
  }

  [Symbol.dispose](): void {
    if (this.#open !== undefined) closeSync(this.#open.fd);
    this.#open = undefined;
    this.#folder[Symbol.dispose]();
  }

  #make(entry: TarEntry): void {
    this.#finishFile();
    const path = cleaned(entry.path);
    if (entry.type === 'directory') {
      if (path !== '' && !this.#directories.has(path)) {
        this.#checkNew(path);
        this.#at(path, (place) => mkdirSync(place, { mode: 0o700 }));
      }
      this.#directories.set(path, path === '' ? undefined : entry);
      return;
    }
    this.#checkNew(path);
    this.#files.add(path);
    switch (entry.type) {
      case 'file': {
        const fd = this.#at(path, (place) => openSync(place, 'wx', 0o600));
        this.#open = { fd, entry };
        return;
      }
      case 'symlink':
        if (entry.linkname === '') throw refused(`${printable(path)} is a link without a target`);
        this.#at(path, (place) => {
          symlinkSync(bytesOf(entry.linkname), place);
          if (this.#keepOwners) lchownSync(place, entry.uid, entry.gid);
          lutimesSync(place, entry.mtime.seconds, entry.mtime.seconds);
        });
        return;
      case 'link': {
        const target = cleaned(entry.linkname);
        if (target === path || !this.#files.has(target))
          throw refused(`${printable(path)} is a hard link to a file outside of it`);
        this.#at(path, (place) => this.#at(target, (file) => linkSync(file, place)));
        return;
      }
      default:
        // Devices and pipes are left out.
        this.#files.delete(path);
    }
  }

  #finishFile(): void {
    if (this.#open === undefined) return;
    const { fd, entry } = this.#open;
    this.#open = undefined;
    try {
      ftruncateSync(fd, entry.size);
      this.#finish(fd, entry);
    } finally {
      closeSync(fd);
    }
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
 * Moves extracted files to their destination. Directories are merged; other files are replaced. No
 * link is followed below either path.
 * @param shown the destination, for messages
 * @throws SandboxError `tool` if a directory would replace another file, or the reverse
 */
export async function moveInto(from: string, to: string, shown = to): Promise<void> {
  const there = lstatSync(to, { throwIfNoEntry: false });
  const coming = lstatSync(from);
  if (there === undefined) {
    renameSync(from, to);
    return;
  }
  if (there.isDirectory() !== coming.isDirectory()) {
    throw new SandboxError('tool', `cannot overwrite ${there.isDirectory() ? 'directory' : 'file'} ${shown}`);
  }
  if (!coming.isDirectory()) {
    renameSync(from, to);
    return;
  }
  const source = openSync(from, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  try {
    const target = openSync(to, O_PATH | O_DIRECTORY | O_NOFOLLOW);
    try {
      for (const name of readdirSync(inDirectory(source, '.'))) {
        await moveInto(inDirectory(source, name), inDirectory(target, name), `${shown}/${name}`);
      }
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(source);
  }
  await removeTree(from);
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
