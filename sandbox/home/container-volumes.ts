// The volumes of a container: those of its mounts, and an anonymous one for each VOLUME of its
// image (Docker's reference, "VOLUME"). A new volume starts with a copy of what the image has at
// its path. The host copies it; nothing of the image runs.
import type { Image, ImageContents } from '../../images/index.js';
import { SandboxError } from '../errors.js';
import { type Mount, normalizedPath, type VolumeMount } from '../spec/mounts.js';
import type { RunSpec } from '../spec/run-spec.js';
import type { Home } from './home.js';
import { ANONYMOUS_LABELS, drawVolumeName } from './volumes.js';

/** The most VOLUMEs that an image may have. */
const MAX_IMAGE_VOLUMES = 256;
/** Bytes; the limit of guest-agent/PROTOCOL.md. */
const MAX_PATH = 4095;

/**
 * The mounts of a new container. Each volume gets a name.
 * @throws SandboxError `bad-spec` for a VOLUME of the image that is not a usable path
 */
export function containerMounts(home: Home, { mounts = [], tmpfs = [] }: RunSpec, image: Image): Mount[] {
  const taken = new Set([...mounts.map(({ target }) => target), ...tmpfs.map(({ path }) => path)].map(normalizedPath));
  const wanted = keepsImageVolumes(home) ? imageVolumes(image).filter((target) => !taken.has(target)) : [];
  return [...mounts, ...wanted.map((target): VolumeMount => ({ type: 'volume', source: '', target }))].map((mount) =>
    mount.source === '' ? { ...mount, source: drawVolumeName(), anonymous: true } : mount,
  );
}

/**
 * False for a user other than root, whose folders cannot keep the owners that an image gives its
 * files, and for a read-only home. VOLUMEs then belong to the writable layer.
 */
function keepsImageVolumes(home: Home): boolean {
  return process.geteuid?.() === 0 && !home.isReadOnly;
}

function imageVolumes({ config }: Image): string[] {
  const targets = new Set(config.Volumes.map((path) => normalizedPath(path)));
  for (const path of config.Volumes) {
    const isPath = !path.includes('\0') && !path.split('/').includes('..') && Buffer.byteLength(path) <= MAX_PATH;
    if (!isPath || normalizedPath(path) === '/') {
      throw new SandboxError('bad-spec', `the image's VOLUME ${JSON.stringify(path)} is not a valid path for a volume`);
    }
  }
  if (targets.size > MAX_IMAGE_VOLUMES) {
    throw new SandboxError('bad-spec', `the image has ${targets.size} VOLUMEs; the limit is ${MAX_IMAGE_VOLUMES}`);
  }
  return [...targets];
}

/**
 * Makes the volumes that are missing, and fills those that are empty. An anonymous volume gets
 * nothing that another mount covers: VOLUMEs within one another would multiply an image. A named
 * volume may be mounted elsewhere without the other mount, so it gets everything, as Docker's.
 * @throws SandboxError, ImageError
 */
export async function fillVolumes(home: Home, { mounts = [], tmpfs = [] }: RunSpec, image: Image): Promise<void> {
  const targets = [...mounts.map(({ target }) => target), ...tmpfs.map(({ path }) => path)].map(normalizedPath);
  let contents: ImageContents | undefined;
  for (const mount of mounts) {
    if (mount.type !== 'volume') continue;
    const { source, noCopy, anonymous = false, bounds } = mount;
    const path = normalizedPath(mount.target);
    await home.volumes.fill(source, { labels: anonymous ? ANONYMOUS_LABELS : {}, bounds }, async (folder) => {
      if (noCopy) return false;
      contents ??= await home.images.open(image.digest);
      const covered = anonymous ? below(path, targets) : [];
      return contents.extract(path, folder, { covered, isCounted: anonymous });
    });
  }
}

/**
 * The paths that are below `path`, relative to it, without those that are below another of them.
 */
function below(path: string, paths: readonly string[]): string[] {
  const outermost: string[] = [];
  const candidates = paths.filter((each) => each.startsWith(`${path}/`)).sort((a, b) => a.length - b.length);
  for (const each of candidates) {
    if (!outermost.some((outer) => each === outer || each.startsWith(`${outer}/`))) outermost.push(each);
  }
  return outermost.map((each) => each.slice(path.length + 1));
}

/** Returns true if all volumes of the mounts exist. */
export function haveVolumes(home: Home, mounts: readonly Mount[]): boolean {
  return mounts.every(({ type, source }) => type !== 'volume' || home.volumes.find(source) !== undefined);
}
