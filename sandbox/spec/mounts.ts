// What of the host a container is given: folders, files and named volumes, each at a path of its own.
import { statSync } from 'node:fs';
import { SandboxError } from '../errors.js';

/** A folder or file of the host's in the container. */
export interface BindMount {
  type: 'bind';
  /** Absolute path on the host. */
  source: string;
  /** Absolute path in the container, other than `/`. */
  target: string;
  readOnly?: boolean;
}

/** A volume in the container. */
export interface VolumeMount {
  type: 'volume';
  /** Its name; it is made when there is none of that name. '': a new one, under a name that is drawn. */
  source: string;
  target: string;
  readOnly?: boolean;
  /** It begins empty, whatever the image has at `target`. */
  noCopy?: boolean;
  /** Nobody named it: it goes with the container if that is removed with its volumes. */
  anonymous?: boolean;
}

export type Mount = BindMount | VolumeMount;

/**
 * Checks that the sources are there or can be made, and that no two mounts are at the same path.
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
  }
}

/** @throws SandboxError `bad-spec` */
export function checkVolumeName(name: string): void {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}$/.test(name)) return;
  const wanted = 'two or more letters, digits, dots, underscores and hyphens, a letter or digit first';
  const hint = name.includes('/') ? '; a folder of the host is given by its absolute path' : '';
  throw new SandboxError('bad-spec', `invalid volume name '${name}': ${wanted}${hint}`);
}

/** Without doubled slashes, `.` and a slash at the end. */
export function normalizedPath(path: string): string {
  return `/${path
    .split('/')
    .filter((name) => name !== '' && name !== '.')
    .join('/')}`;
}

/**
 * Checks that a bind mount's source can be shared. It may have gone since the container was made.
 * @throws SandboxError `bad-spec`
 */
export function checkBindSource(path: string): void {
  if (!path.startsWith('/')) throw new SandboxError('bad-spec', `bind source path is not absolute: '${path}'`);
  const status = statSync(path, { throwIfNoEntry: false });
  if (status === undefined) throw new SandboxError('bad-spec', `bind source path does not exist: ${path}`);
  if (!status.isDirectory() && !status.isFile()) {
    throw new SandboxError('bad-spec', `bind source path is neither a folder nor a file: ${path}`);
  }
}
