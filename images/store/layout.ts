// Where things lie in the store's folder, $TSVM_HOME/store-<format>. What has a digest for its name is never changed once
// it is there: it is made in tmp/ and renamed into place whole, so that a crash leaves it either there or not. What is
// derived from it (an image's record and disk) can be lost and is made again.
//
//   layers/<diff-id>/data, index,      a layer's contents; its names and metadata; and the rest of its tar, from which
//                    framing           together with the contents the tar comes back
//   images/<config digest>/            an image: config.json, manifest.json (as they came); record.json (what a run
//                                      reads) and disk.erofs (its disk's metadata), derived from config and layers
//   names/<repository>/<tag>           the digest of the image that has this name; `/` is written `+`
//   names/<repository>/sha256:<hex>    the same for a name with the digest of a manifest or an image index
//   holders/<holder>                   the digest of an image that somebody needs who may not be running
//   tmp/<random>/                      what a process is making or removing; locked while that process lives
//   lock                               locked for the moments in which names and digests come and go

import { join } from 'node:path';
import type { NameReference } from '../reference.js';

/** The number is the format's: what an older tsvm stored is left alone, and an older tsvm leaves this alone. */
export const STORE = 'store-2';

export const LAYERS = 'layers';
export const IMAGES = 'images';
export const NAMES = 'names';
export const HOLDERS = 'holders';
export const TMP = 'tmp';
export const LOCK = 'lock';

export const DATA = 'data';
export const INDEX = 'index';
export const FRAMING = 'framing';

export const RECORD = 'record.json';
export const DISK = 'disk.erofs';
export const CONFIG = 'config.json';
export const MANIFEST = 'manifest.json';

/** @param digest `sha256:<hex>` */
export function layerPath(home: string, digest: string): string {
  return join(home, LAYERS, hex(digest));
}

/** @param digest `sha256:<hex>` */
export function imagePath(home: string, digest: string): string {
  return join(home, IMAGES, hex(digest));
}

/** The file that holds a name's digest. */
export function namePath(home: string, { domain, path, tag, digest }: NameReference): string {
  return join(home, NAMES, `${domain}/${path}`.replaceAll('/', '+'), digest ?? tag ?? 'latest');
}

/** The name that a file under names/ stands for. */
export function nameOf(directory: string, file: string): NameReference {
  const [domain = '', ...path] = directory.split('+');
  const [tag, digest] = file.startsWith('sha256:') ? [null, file] : [file, null];
  return { kind: 'name', domain, path: path.join('/'), tag, digest };
}

/** The digits of a digest, `sha256:<hex>`. */
export function hex(digest: string): string {
  return digest.slice('sha256:'.length);
}
