// What a build gives beside, or in place of, an image in the store: the files of the image in a
// folder or as a tar, or the image as an archive (BuildKit's exporters of these names).
import { join } from 'node:path';
import { Readable } from 'node:stream';
import {
  type BuildStore,
  type ComposedImage,
  type ComposedList,
  END_MARK,
  formatPlatform,
  type ManifestDescriptor,
  type Platform,
  toImageError,
  writtenPlatform,
} from '../images/build.js';
import { EXTRACTED, extractArchive } from '../sandbox/internal.js';
import { BuildError } from './build-error.js';
import { IgnoreRules } from './context/ignore.js';
import { copyEntries, EMPTY } from './solve/copy.js';
import { layerTar } from './solve/layer-tar.js';

/** Takes an archive as it comes, and resolves once it has all of it. */
export type TakeArchive = (archive: Readable) => Promise<void>;

export type Output =
  /** The image goes into the store. */
  | { type: 'image' }
  /** The image's files go into a folder of the host, which is made if it is missing. */
  | { type: 'local'; folder: string }
  /** The image's files, as one tar; or the image, as an OCI layout or as `docker save` has it. */
  | { type: 'tar' | 'oci' | 'docker'; take: TakeArchive };

/** The words of BuildKit. */
export const EXPORTING: Readonly<Record<Output['type'], string>> = {
  image: 'exporting to image',
  local: 'exporting to client directory',
  tar: 'exporting to client tarball',
  oci: 'exporting to oci image format',
  docker: 'exporting to docker image format',
};

/** The images of a build, one for each platform, and their names. */
export type BuiltImages = ComposedList;

/** What the outputs have: an image, or an index of images. */
export function describeBuilt(store: BuildStore, list: BuiltImages): { id: string; descriptor: ManifestDescriptor } {
  const [first, ...others] = list.images;
  if (first !== undefined && others.length === 0) return store.describe(first);
  const descriptor = store.describeList(list);
  return { id: descriptor.digest, descriptor };
}

/** @throws ImageError, SandboxError; the reason of `signal` */
export async function exportImages(
  store: BuildStore,
  list: BuiltImages,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const { images, names = [] } = list;
  const isOne = images.length === 1;
  try {
    if (output.type === 'image') await (isOne ? store.compose({ ...images[0]!, names }) : store.composeList(list));
    else if (output.type === 'local') {
      for (const { platform, ...image } of images) {
        const folder = isOne ? output.folder : join(output.folder, folderOf(platform));
        await extractArchive(until(signal, filesTar(store, [{ image, at: '/' }], true)), folder);
      }
    } else await output.take(until(signal, archiveOf(store, list, output.type)));
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof Error && 'syscall' in error ? toImageError(error, 'cannot write the output') : error;
  }
}

/** @throws BuildError `bad-option` for what several platforms cannot be written as */
export function checkOutputs(outputs: readonly Output[], platforms: readonly Platform[]): void {
  if (platforms.length === 1 || !outputs.some(({ type }) => type === 'docker')) return;
  throw new BuildError('bad-option', 'output type=docker has one platform: use type=oci for several');
}

function archiveOf(store: BuildStore, list: BuiltImages, type: 'tar' | 'oci' | 'docker'): AsyncIterable<Buffer> {
  const { images, names = [] } = list;
  const isOne = images.length === 1;
  if (type !== 'tar') return isOne ? store.archive({ ...images[0]!, names }, type) : store.archiveList(list);
  const parts = images.map(({ platform, ...image }) => ({ image, at: isOne ? '/' : `/${folderOf(platform)}` }));
  return filesTar(store, parts, false);
}

/** As BuildKit names it: `linux_arm64`. */
function folderOf(platform: Platform): string {
  return formatPlatform(writtenPlatform(platform)).replaceAll('/', '_');
}

function until(signal: AbortSignal, archive: AsyncIterable<Buffer>): Readable {
  return Readable.from(archive, { objectMode: false, signal });
}

/**
 * @param parts images, and the folder of the tar that each is in
 * @param isForHost the files are in one folder, without devices and pipes, which a host has no use for
 */
async function* filesTar(
  store: BuildStore,
  parts: readonly { image: Pick<ComposedImage, 'layers'>; at: string }[],
  isForHost: boolean,
): AsyncGenerator<Buffer> {
  const isKept = (kind: string) => !isForHost || kind === 'directory' || kind === 'file' || kind === 'symlink';
  for (const [index, { image, at }] of parts.entries()) {
    const tree = store.tree(image.layers);
    const entries = copyEntries(tree.root, EMPTY, {
      ...{ sources: ['/'], destination: isForHost ? `/${EXTRACTED}` : at, owner: undefined, mode: undefined },
      ...{ now: { seconds: 0, nanoseconds: 0 }, parents: false, excludes: new IgnoreRules() },
    });
    const tar = layerTar(
      entries.filter(({ kind }) => isKept(kind)),
      (inode) => tree.read(inode),
    );
    yield* index === parts.length - 1 ? tar : withoutEnd(tar);
  }
}

/** A tar that another follows. */
async function* withoutEnd(tar: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const chunk of tar) if (chunk !== END_MARK) yield chunk;
}
