// The volumes that a container gets: those of its mounts, and one without a name for each VOLUME of its image (Docker's
// reference, "VOLUME"). What the image has at a new volume's place is what the volume begins with; it is copied on the
// host, while nothing of the image runs.
import type { Image } from '../../images/index.js';
import { SandboxError } from '../errors.js';
import { type Mount, normalizedPath, type VolumeMount } from '../spec/mounts.js';
import type { RunSpec } from '../spec/run-spec.js';
import type { Home } from './home.js';
import { ANONYMOUS_LABELS, drawVolumeName } from './volumes.js';

/** The most VOLUMEs of an image. */
const MAX_IMAGE_VOLUMES = 256;
/** Bytes, as guest-agent/PROTOCOL.md has it. */
const MAX_PATH = 4095;

/**
 * The mounts of a new container, all volumes with a name.
 * @throws SandboxError `bad-spec` for VOLUMEs of the image that are none
 */
export function containerMounts(home: Home, { mounts = [], tmpfs = [] }: RunSpec, image: Image): Mount[] {
  const taken = new Set([...mounts.map(({ target }) => target), ...tmpfs.map(({ path }) => path)].map(normalizedPath));
  const wanted = keepsImageVolumes(home) ? imageVolumes(image).filter((target) => !taken.has(target)) : [];
  return [...mounts, ...wanted.map((target): VolumeMount => ({ type: 'volume', source: '', target }))].map((mount) =>
    mount.source === '' ? { ...mount, source: drawVolumeName(), anonymous: true } : mount,
  );
}

/**
 * A folder of a user's cannot keep the owners that an image gives its files, and there may be no place for one: then
 * VOLUMEs are a part of the writable layer.
 */
function keepsImageVolumes(home: Home): boolean {
  return process.geteuid?.() === 0 && !home.isReadOnly;
}

function imageVolumes({ config }: Image): string[] {
  const targets = new Set(config.Volumes.map((path) => normalizedPath(path)));
  for (const path of config.Volumes) {
    const isPath = !path.includes('\0') && !path.split('/').includes('..') && Buffer.byteLength(path) <= MAX_PATH;
    if (!isPath || normalizedPath(path) === '/') {
      throw new SandboxError('bad-spec', `the image's VOLUME ${JSON.stringify(path)} is no place for a volume`);
    }
  }
  if (targets.size > MAX_IMAGE_VOLUMES) {
    throw new SandboxError('bad-spec', `the image has ${targets.size} VOLUMEs; the limit is ${MAX_IMAGE_VOLUMES}`);
  }
  return [...targets];
}

/**
 * Makes those that are not there, and fills those that are empty.
 * @throws SandboxError, ImageError
 */
export async function fillVolumes(home: Home, mounts: readonly Mount[], image: Image): Promise<void> {
  for (const { source, target, ...mount } of mounts.filter((each) => each.type === 'volume')) {
    const labels = mount.anonymous ? ANONYMOUS_LABELS : {};
    const isCopied = async (folder: string) =>
      !mount.noCopy && (await home.images.extract(image.digest, normalizedPath(target), folder));
    await home.volumes.fill(source, labels, isCopied);
  }
}

/** Whether all of them are there still. */
export function haveVolumes(home: Home, mounts: readonly Mount[]): boolean {
  return mounts.every(({ type, source }) => type !== 'volume' || home.volumes.find(source) !== undefined);
}
