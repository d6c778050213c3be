// Mounts of a container: folders and files of the host, and volumes. Their types and checks.
import { SandboxError } from '../errors.js';

/** A folder or file of the host, mounted into the container. */
export interface BindMount {
  type: 'bind';
  /** Absolute path on the host. */
  source: string;
  /** Absolute path in the container, other than `/`. */
  target: string;
  readOnly?: boolean;
  /**
   * If true, files keep the set-user-ID and set-group-ID bits and the capabilities that the
   * container gives them. Other users of the host may run them, if they can enter the folder.
   */
  suid?: boolean;
  /** What was at `source` when the container was created. Absent before, and in old records. */
  file?: SourceFile;
}

/** A folder or file of the host, by path and identity. */
export interface SourceFile {
  /** Absolute, without links. */
  path: string;
  type: 'folder' | 'file';
  /** `st_dev` and `st_ino` (stat(2)). */
  device: number;
  inode: number;
  /** Milliseconds since the epoch. */
  birth: number;
  uid: number;
  gid: number;
}

/** What a volume may have at most. Absent: as much as the host's disk has room for. */
export interface VolumeBounds {
  /** Bytes on the host's disk, holes left out. */
  size?: number;
  /** Files and folders, the volume's own included. */
  inodes?: number;
}

/** A volume, mounted into the container. */
export interface VolumeMount {
  type: 'volume';
  /**
   * Name of the volume, which is made if it does not exist. '' makes a new volume with a random
   * name.
   */
  source: string;
  target: string;
  readOnly?: boolean;
  /** If true, a new volume starts empty, without the image's files at `target`. */
  noCopy?: boolean;
  /** Of the volume that is made. One that exists must have these bounds. */
  bounds?: VolumeBounds;
  /**
   * True if the caller gave no name. The volume is then removed together with the container's
   * volumes.
   */
  anonymous?: boolean;
}

export type Mount = BindMount | VolumeMount;

/**
 * Checks the form of the sources, and that each mount has a path of its own.
 * @throws SandboxError `bad-spec`
 */
export function checkMounts(mounts: readonly Mount[], tmpfs: readonly { path: string }[]): void {
  const targets = new Set<string>();
  for (const path of [...tmpfs.map(({ path }) => path), ...mounts.map(({ target }) => target)]) {
    if (!path.startsWith('/') || /^\/+$/.test(path)) {
      throw new SandboxError('bad-spec', `invalid mount path '${path}': an absolute path other than '/' is needed`);
    }
    if (path.split('/').includes('..')) {
      throw new SandboxError('bad-spec', `invalid mount path '${path}': it leads through '..'`);
    }
    const target = normalizedPath(path);
    if (targets.has(target)) throw new SandboxError('bad-spec', `duplicate mount point: ${target}`);
    targets.add(target);
  }
  for (const mount of mounts) {
    if (mount.type === 'bind') checkBindSource(mount.source);
    else if (mount.source !== '') checkVolumeName(mount.source);
    if (mount.type === 'volume') checkVolumeBounds(mount.bounds);
  }
}

export function isBound(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) > 0;
}

/** @throws SandboxError `bad-spec` */
export function checkVolumeBounds({ size, inodes }: VolumeBounds = {}): void {
  for (const [what, bound] of Object.entries({ size, inodes })) {
    if (bound === undefined || isBound(bound)) continue;
    throw new SandboxError('bad-spec', `invalid ${what} ${bound} of a volume: a whole number above 0 is needed`);
  }
}

export function isVolumeName(name: string): boolean {
  return /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}$/.test(name);
}

/** @throws SandboxError `bad-spec` for an invalid name */
export function checkVolumeName(name: string): void {
  if (isVolumeName(name)) return;
  const wanted = 'two or more letters, digits, dots, underscores and hyphens, a letter or digit first';
  const hint = name.includes('/') ? '; a folder of the host is given by its absolute path' : '';
  throw new SandboxError('bad-spec', `invalid volume name '${name}': ${wanted}${hint}`);
}

/** The path without doubled slashes, `.` and a trailing slash. */
export function normalizedPath(path: string): string {
  return `/${path
    .split('/')
    .filter((name) => name !== '' && name !== '.')
    .join('/')}`;
}

/** @throws SandboxError `bad-spec` for a path that is not absolute */
function checkBindSource(path: string): void {
  if (!path.startsWith('/')) throw new SandboxError('bad-spec', `bind source path is not absolute: '${path}'`);
  if (path.includes('\0')) throw new SandboxError('bad-spec', 'bind source path contains a NUL byte');
}
