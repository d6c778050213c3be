// `docker cp`: copies files between the host and a container, to the destinations that Docker's
// rules give.
import { closeSync, constants, lstatSync, mkdirSync, mkdtempSync, openSync, statSync } from 'node:fs';
import { basename, dirname, join, posix, resolve } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { hasCode, messageOf } from '../../errors/index.js';
import { O_PATH, OpenError } from '../../libc/openat2.js';
import { removeTree, TreeError } from '../../libc/trees.js';
import { SandboxError } from '../errors.js';
import type { ContainerFiles, FileType } from './files.js';

export interface CopyOptions {
  /** Keeps owners. Default: root in the container, the caller on the host. */
  archive?: boolean;
  /** Copies the target of a symbolic link at the source. */
  followLink?: boolean;
}

/** What stands for something else than bytes on disk is not copied to the host. */
const NOT_COPIED: Partial<Record<FileType, string>> = {
  character: 'a device',
  block: 'a device',
  fifo: 'a named pipe',
  socket: 'a socket',
};

/** Name of the root of the archive while it is extracted on the host. */
const ROOT = 'root';

/**
 * The destination of a copy: `name` in `directory`. The name `.` merges into the directory itself.
 */
interface Place {
  directory: string;
  name: string;
}

/**
 * Copies a file or folder of the host into a container.
 * @throws SandboxError `no-such-file`, `tool`
 */
export function copyIn(files: ContainerFiles, from: string, to: string, options: CopyOptions = {}): Promise<void> {
  const source = options.followLink ? statSync : lstatSync;
  const status = source(from, { throwIfNoEntry: false });
  if (status === undefined) throw new SandboxError('no-such-file', `no such file or directory: ${from}`);
  return files.together(async () => {
    const place = await placeFor(from, status.isDirectory(), absolute(to), posix, (path) => guestPlace(files, path));
    const { archiveHost } = await import('./host-archive.js');
    const archive = archiveHost(from, place.name, { follow: options.followLink });
    await files.extract(place.directory, Readable.from(archive), { owners: options.archive });
  });
}

/**
 * One tar archive of several files or folders of the host, with the names that they have in it.
 * @throws SandboxError `no-such-file`, `tool`
 */
export async function* archiveFiles(sources: readonly { path: string; name: string }[]): AsyncGenerator<Buffer> {
  const { archiveAll } = await import('./host-archive.js');
  yield* archiveAll(sources);
}

/**
 * Copies a file or folder of a container to the host.
 * @throws SandboxError `no-such-file`, `tool`
 */
export function copyOut(files: ContainerFiles, from: string, to: string, options: CopyOptions = {}): Promise<void> {
  return files.together(async () => {
    const path = absolute(from);
    const info = await (options.followLink ? files.stat(path) : files.lstat(path));
    const special = NOT_COPIED[info.type];
    if (special !== undefined) throw new SandboxError('tool', `cannot copy ${path} to the host: it is ${special}`);
    const place = await placeFor(
      path,
      info.type === 'directory',
      resolve(to) + (to.endsWith('/') ? '/' : ''),
      { basename, dirname },
      hostPlace,
    );
    try {
      // A container may write the directory around it, so it is found once.
      const directory = openSync(place.directory, O_PATH | constants.O_DIRECTORY);
      try {
        await copyTo(directory, place, (output) => files.archive(path, ROOT, output, { follow: options.followLink }), {
          keepOwners: options.archive === true,
        });
      } finally {
        closeSync(directory);
      }
    } catch (error) {
      throw toSandboxError(error, place.directory);
    }
  });
}

/**
 * Extracts a tar archive of a guest on the host, as if `from` were copied. Its root has the last name
 * of `from`, but for a `.` that asks for the contents alone.
 * @throws SandboxError `no-such-file`, `tool`; ImageError if the archive is damaged or not complete
 */
export async function copyArchive(archive: Readable, from: string, to: string): Promise<void> {
  const isFolder = to.endsWith('/');
  const isContents = from.endsWith('/.');
  const root = basename(isContents ? from.slice(0, -1) : from);
  // A server has told it: nothing but what the archive has made is moved.
  if (['', '.', '..'].includes(root)) throw new SandboxError('tool', `an archive has no root called '${root}'`);
  const place = await placeFor(from, isContents, resolve(to) + (isFolder ? '/' : ''), { basename, dirname }, hostPlace);
  try {
    const directory = openSync(place.directory, O_PATH | constants.O_DIRECTORY);
    try {
      await copyTo(directory, place, (output) => pipeline(archive, output), { keepOwners: false, root });
    } finally {
      closeSync(directory);
    }
  } catch (error) {
    throw toSandboxError(error, place.directory);
  }
}

/** The root of an archive for `extractArchive`. */
export const EXTRACTED = ROOT;

/**
 * Extracts an archive into a folder, which is made if it is missing. Files that the folder has under
 * the same names are replaced, directories merged. No link is followed below it.
 *
 * @param archive its files are in the directory `EXTRACTED`
 * @throws SandboxError `tool` if a directory would replace another file, or the reverse; ImageError;
 *   errors of the archive
 */
export async function extractArchive(archive: Readable, folder: string): Promise<void> {
  try {
    mkdirSync(folder, { recursive: true });
    const directory = openSync(folder, O_PATH | constants.O_DIRECTORY);
    try {
      const place = { directory: folder, name: '.' };
      await copyTo(directory, place, (output) => pipeline(archive, output), { keepOwners: false });
    } finally {
      closeSync(directory);
    }
  } catch (error) {
    throw toSandboxError(error, folder);
  }
}

/** Extracts what `archive` writes beside its destination, and moves it there. */
async function copyTo(
  directory: number,
  place: Place,
  archive: (output: Writable) => Promise<unknown>,
  { keepOwners, root = ROOT }: { keepOwners: boolean; root?: string },
): Promise<void> {
  const { HostExtractor, inDirectory, moveInto } = await import('./host-extract.js');
  const folder = mkdtempSync(inDirectory(directory, '.tsvm-cp-'));
  try {
    using extractor = new HostExtractor(folder, keepOwners);
    const output = new Writable({
      write(chunk: Buffer, _encoding, done) {
        try {
          extractor.write(chunk);
          done();
        } catch (error) {
          done(error instanceof Error ? error : new Error(messageOf(error)));
        }
      },
    });
    let failure: Error | undefined;
    output.on('error', (error) => {
      failure = error;
    });
    await archive(output).catch((error) => {
      throw failure ?? error;
    });
    if (failure !== undefined) throw failure;
    extractor.end();
    await moveInto(join(folder, root), inDirectory(directory, place.name), join(place.directory, place.name));
  } finally {
    await removeTree(folder);
  }
}

/** Where a path leads to. */
interface Found {
  path: string;
  /** Undefined if nothing is there. */
  isDirectory: boolean | undefined;
}

/**
 * Finds the destination by Docker's rules (docker cp). It depends on what exists there, and on how
 * both paths end.
 */
async function placeFor(
  from: string,
  isDirectory: boolean,
  to: string,
  path: { basename(path: string): string; dirname(path: string): string },
  find: (path: string) => Promise<Found>,
): Promise<Place> {
  const there = await find(to);
  if (there.isDirectory === true) {
    if (isDirectory && (from.endsWith('/.') || from === '.')) return { directory: to, name: '.' };
    return { directory: to, name: basename(resolve('/', from)) || '.' };
  }
  if (there.isDirectory === false && (isDirectory || to.endsWith('/'))) {
    throw new SandboxError(
      'tool',
      isDirectory ? `cannot copy a directory to the file ${to}` : `not a directory: ${to}`,
    );
  }
  if (there.isDirectory === undefined && to.endsWith('/') && !isDirectory) {
    throw new SandboxError('no-such-file', `no such directory: ${to}`);
  }
  const directory = path.dirname(there.path);
  if ((await find(directory)).isDirectory !== true)
    throw new SandboxError('no-such-file', `no such directory: ${directory}`);
  return { directory, name: path.basename(there.path) };
}

/** A symbolic link of the container is followed, as `docker cp` does: its target is replaced. */
async function guestPlace(files: ContainerFiles, at: string): Promise<Found> {
  const { path, type } = await files.destination(at);
  return { path, isDirectory: type === undefined ? undefined : type === 'directory' };
}

/**
 * A symbolic link of the host at the end is replaced, not followed: a container may have made it in
 * a folder that it shares.
 */
async function hostPlace(path: string): Promise<Found> {
  return { path, isDirectory: statSync(path, { throwIfNoEntry: false })?.isDirectory() };
}

/** Errors of the host's file system are reported as `tool`. */
function toSandboxError(error: unknown, directory: string): unknown {
  const isOfHost =
    error instanceof Error && ('syscall' in error || error instanceof OpenError || error instanceof TreeError);
  if (!isOfHost) return error;
  const message = error.message.replaceAll(/\/proc\/self\/fd\/\d+/g, () => directory);
  // A call on a descriptor, such as a write to a full disk, names no file.
  const isPlaced = message.includes(directory) || !hasCode(error, 'ENOSPC', 'EDQUOT', 'EFBIG', 'EIO');
  return new SandboxError('tool', isPlaced ? message : `${resolve(directory)}: ${message}`, { cause: error });
}

/** Docker resolves paths in a container from its root. */
function absolute(path: string): string {
  return path.startsWith('/') ? path : `/${path}`;
}
