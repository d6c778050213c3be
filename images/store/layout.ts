// The layout of the store's folder, $TSVM_HOME/store-<format>. A file or folder named by a digest
// never changes: it is made in tmp/ and renamed into place, so after a crash it is there whole or
// not at all. What is derived from it (an image's record and disk) can be lost: it is made again.
//
//   layers/<diff-id>/                data: the file contents. index: names and metadata. framing:
//                                    the rest of the tar. With the contents it gives the tar back.
//                                    blobs.json: its blobs in registries; may be absent
//   images/<config digest>/          config.json, manifest.json: as the source gave them.
//                                    pushed.json: its manifests in registries; may be absent.
//                                    record.json (what a run reads), disk.erofs (the disk's
//                                    metadata): derived from the config and the layers
//   names/<repository>/<tag>         the digest of the image with this name; `/` is written `+`
//   names/<repository>/sha256:<hex>  the same, for the digest of a manifest or an image index
//   lists/<repository>/<tag>         a list of manifests that is made here, by this name
//   steps/<key>                      the diff-id of the layer that a build step made; `-` if it made
//                                    none. Its time is that of its last use
//   holders/<holder>                 the digest of an image that a container needs, even while it
//                                    does not run
//   tmp/<random>/                    what a process is making or removing; locked while it lives.
//                                    needs/<diff-id>: a layer that it has found and still needs.
//                                    images/<config digest>: an image of its own, which goes with it
//   locks/<name>                     locked while a RUN has the cache mount of this name for itself
//   lock                             locked while names and digests are added or removed

import { join } from 'node:path';
import type { NameReference } from '../reference.js';

/**
 * The number is the format's version. Each version of the format has its own folder, so older and
 * newer versions of tsvm leave each other's stores alone.
 */
export const STORE = 'store-2';

export const LAYERS = 'layers';
export const IMAGES = 'images';
export const NAMES = 'names';
export const LISTS = 'lists';
export const HOLDERS = 'holders';
export const STEPS = 'steps';
export const TMP = 'tmp';
export const NEEDS = 'needs';
export const LOCK = 'lock';
export const LOCKS = 'locks';

export const DATA = 'data';
export const INDEX = 'index';
export const FRAMING = 'framing';
export const BLOBS = 'blobs.json';

export const RECORD = 'record.json';
export const DISK = 'disk.erofs';
export const CONFIG = 'config.json';
export const MANIFEST = 'manifest.json';
export const PUSHED = 'pushed.json';

/** @param digest `sha256:<hex>` */
export function layerPath(home: string, digest: string): string {
  return join(home, LAYERS, hex(digest));
}

/** @param digest `sha256:<hex>` */
export function imagePath(home: string, digest: string): string {
  return join(home, IMAGES, hex(digest));
}

/** The path of the file that holds the digest of a name. */
export function namePath(home: string, { domain, path, tag, digest }: NameReference): string {
  return join(home, NAMES, `${domain}/${path}`.replaceAll('/', '+'), digest ?? tag ?? 'latest');
}

/** The path of the file of a list of manifests. */
export function listPath(home: string, { domain, path, tag }: NameReference): string {
  return join(home, LISTS, `${domain}/${path}`.replaceAll('/', '+'), tag ?? 'latest');
}

/** The name that a file under names/ or lists/ stands for. */
export function nameOf(directory: string, file: string): NameReference {
  const [domain = '', ...path] = directory.split('+');
  const [tag, digest] = file.startsWith('sha256:') ? [null, file] : [file, null];
  return { kind: 'name', domain, path: path.join('/'), tag, digest };
}

/** The hex digits of a digest, `sha256:<hex>`. */
export function hex(digest: string): string {
  return digest.slice('sha256:'.length);
}
