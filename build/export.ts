// What a build gives beside, or in place of, an image in the store: the files of the image in a
// folder or as a tar, or the image as an archive (BuildKit's exporters of these names).
import { Readable } from 'node:stream';
import { type BuildStore, type ComposedImage, toImageError } from '../images/build.js';
import { EXTRACTED, extractArchive } from '../sandbox/internal.js';
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

/** @throws ImageError, SandboxError; the reason of `signal` */
export async function exportImage(
  store: BuildStore,
  image: ComposedImage,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  try {
    if (output.type === 'image') await store.compose(image);
    else if (output.type === 'local') await extractArchive(until(signal, filesTar(store, image, true)), output.folder);
    else {
      const archive = output.type === 'tar' ? filesTar(store, image, false) : store.archive(image, output.type);
      await output.take(until(signal, archive));
    }
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof Error && 'syscall' in error ? toImageError(error, 'cannot write the output') : error;
  }
}

function until(signal: AbortSignal, archive: AsyncIterable<Buffer>): Readable {
  return Readable.from(archive, { objectMode: false, signal });
}

/** @param isForHost the files are in one folder, without devices and pipes, which a host has no use for */
function filesTar(store: BuildStore, { layers }: ComposedImage, isForHost: boolean): AsyncIterable<Buffer> {
  const tree = store.tree(layers);
  const entries = copyEntries(tree.root, EMPTY, {
    ...{ sources: ['/'], destination: isForHost ? `/${EXTRACTED}` : '/', owner: undefined, mode: undefined },
    ...{ now: { seconds: 0, nanoseconds: 0 }, parents: false, excludes: new IgnoreRules() },
  });
  const isKept = (kind: string) => !isForHost || kind === 'directory' || kind === 'file' || kind === 'symlink';
  return layerTar(
    entries.filter(({ kind }) => isKept(kind)),
    (inode) => tree.read(inode),
  );
}
