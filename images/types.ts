// The types of this room: plain data that describes an image and where its disk is.

import type { Writable } from 'node:stream';

/** A range of a host file. `offset` and `length` are bytes, `length` a multiple of 4096. */
export interface Extent {
  path: string;
  offset: number;
  length: number;
}

/**
 * The fields of an OCI image config that a run needs (OCI image-spec 1.1, config.md), with absent
 * ones filled in: an absent list is empty, an absent string is ''. `ExposedPorts` and `Volumes` are
 * the keys of the OCI sets.
 */
export interface ImageConfig {
  architecture: string;
  os: string;
  /** RFC 3339 time, or '' if the image has none. */
  created: string;
  /** `NAME=value`. */
  Env: string[];
  Entrypoint: string[];
  Cmd: string[];
  /** `user`, `uid`, `user:group` or `uid:gid`, as in the image; '' is root. */
  User: string;
  WorkingDir: string;
  /** A signal name or number, or ''. */
  StopSignal: string;
  /** `80/tcp`. */
  ExposedPorts: string[];
  /** Absolute paths. */
  Volumes: string[];
  Labels: Record<string, string>;
  /** Docker's. Null if the image has none; absent in records of older builds. */
  Healthcheck?: ImageHealthcheck | null;
  /** Docker's: the shell of a health check that is a text. Empty: `/bin/sh -c`. */
  Shell?: string[];
}

/** The health check of an image. Times are nanoseconds; 0 stands for the default. */
export interface ImageHealthcheck {
  /** `NONE`, `CMD` and arguments, or `CMD-SHELL` and a text. Empty: none of its own. */
  Test: string[];
  Interval: number;
  Timeout: number;
  StartPeriod: number;
  StartInterval: number;
  Retries: number;
}

/** An image that can be run now. */
export interface Image {
  /** The image ID, `sha256:<hex>`: the digest of its config. */
  digest: string;
  config: ImageConfig;
  /** Extents that, laid end to end, are one EROFS file system. Read only. */
  disk: Extent[];
}

/** One line of a list of images. */
export interface ImageSummary {
  /** The familiar repository name (`debian`), or null if the image has no name. */
  name: string | null;
  tag: string | null;
  /** The image ID, `sha256:<hex>`. */
  digest: string;
  /** `sha256:<hex>` of the manifest the image came with, or null if it came without one. */
  manifest: string | null;
  /** RFC 3339 time, or ''. */
  created: string;
  labels: Record<string, string>;
  /**
   * Bytes of the host's disk that its layers and disk metadata take. A layer shared by several
   * images counts in each of them.
   */
  size: number;
  /** Of these, the bytes of layers shared with other images. */
  sharedSize: number;
}

/** An image, with the field names of `docker image inspect`. */
export interface ImageDetails {
  Id: string;
  RepoTags: string[];
  RepoDigests: string[];
  Comment: string;
  Created: string;
  Author: string;
  /**
   * The `config` of the image config, unchanged, with null or '' for the usual fields that it
   * lacks.
   */
  Config: Record<string, unknown>;
  Architecture: string;
  Os: string;
  /** Bytes on the host's disk. */
  Size: number;
  RootFS: { Type: 'layers'; Layers: string[] };
}

/** One step of an image's history. */
export interface HistoryEntry {
  /** RFC 3339 time, or ''. */
  created: string;
  createdBy: string;
  comment: string;
  /** The diff-id of the layer that the step made, `sha256:<hex>`, or null. */
  layer: string | null;
  /** Bytes of that layer on the host's disk. */
  size: number;
}

/** The files of an image. */
export interface ImageContents {
  /**
   * Copies a directory of an image into a folder of the host: files, directories and symbolic
   * links, with modes, times, hard links and holes. Owners and set-id bits are copied if the caller
   * is root. Everything is synced to the disk.
   *
   * @param folder exists, is empty, and belongs to the caller. Gets the directory's owner, mode and
   *   time too.
   * @returns false if the image has nothing at `path`
   * @throws ImageError `corrupt` if the store is damaged or the path is not a directory,
   *   `too-large`
   */
  extract(path: string, folder: string, options?: ExtractOptions): Promise<boolean>;
}

export interface ExtractOptions {
  /** Directories to leave empty. Paths below the directory that is copied. */
  covered?: readonly string[];
  /** Limits what this and other counted copies have in common (`MAX_REPEATED_BYTES`). */
  isCounted?: boolean;
  /** Once aborted, the copy fails with the reason. What is copied stays. */
  signal?: AbortSignal;
  /** False: the copy need not be on the disk when it is done. Default: true. */
  synced?: boolean;
}

/** How much of the host's disk the store uses, in bytes. */
export interface StoreUsage {
  /**
   * `active` counts images in use by a container; `reclaimable` is what removing the others would
   * free.
   */
  images: { total: number; active: number; size: number; reclaimable: number };
  /** Files still being written, or left behind by a process that died. */
  temporary: { total: number; size: number };
}

/** An image that `load` found in an archive. */
export interface LoadedImage {
  /** The image ID, `sha256:<hex>`. */
  digest: string;
  /** The names it was given, in familiar form. */
  names: string[];
}

/**
 * What `remove` did: names that were removed, and image IDs and layer diff-ids whose bytes were
 * deleted.
 */
export interface Removal {
  untagged: string[];
  deleted: string[];
}

export interface RemoveOptions {
  /**
   * Also remove all names of an image that has several, and the names of an image in use, which
   * then stays.
   */
  force?: boolean;
}

export interface PruneOptions {
  /** Also images that have a name. */
  all?: boolean;
  /** Returns true for an image to keep, by ID. */
  keep?: (digest: string) => boolean;
}

/** What `prune` did. */
export interface Pruned extends Removal {
  /** Bytes of the host's disk that were freed. */
  reclaimed: number;
}

/** The progress of a long operation. */
export interface Progress {
  /** `present`: the layer is in the store already. Reported once. */
  phase: 'present' | 'layer' | 'disk';
  /** The layer's digest as the source gives it; '' if there is none yet. */
  layer: string;
  /** Bytes of the layer read from the source so far. */
  done: number;
  /** Bytes of the layer in the source; undefined if unknown. */
  total: number | undefined;
}

/** When to ask a registry for the image of a name. */
export type PullPolicy = 'missing' | 'always' | 'never';

export interface ResolveOptions {
  /** Default `never`. */
  pull?: PullPolicy;
  /** `OS/ARCH[/VARIANT]`; default: what this machine runs. */
  platform?: string;
  /** Called before an image is pulled because the store lacks it. */
  onMissing?: (reference: string) => void;
  onProgress?: (progress: Progress) => void;
}

export interface LoadOptions {
  onProgress?: (progress: Progress) => void;
}

export interface PullOptions {
  /** `OS/ARCH[/VARIANT]`; default: what this machine runs. */
  platform?: string;
  onProgress?: (progress: Progress) => void;
}

/** What `pull` found. */
export interface Pulled {
  /** The name in full: `docker.io/library/debian:12`. */
  name: string;
  /** `sha256:<hex>` of the manifest or index that the name refers to. */
  manifest: string;
  /** The image ID, `sha256:<hex>`. */
  digest: string;
  /** True if the name referred to another image, or to none, before. */
  changed: boolean;
}

export interface PushOptions {
  /**
   * How layers made here are compressed. Default: `gzip`. Layers that came from a registry stay as
   * they are there.
   */
  compression?: 'gzip' | 'zstd';
  onProgress?: (progress: PushProgress) => void;
  /**
   * Once aborted, uploads are cancelled, and the push fails with the reason. The tag stays as it was, unless its
   * manifest was on the way.
   */
  signal?: AbortSignal;
}

/** The progress of one layer of a push. */
export interface PushProgress {
  /**
   * - `pushing`: it is being sent.
   * - `pushed`: it was sent.
   * - `present`: the repository had it.
   * - `mounted`: the registry took it from another of its repositories, `from`.
   */
  phase: 'pushing' | 'pushed' | 'present' | 'mounted';
  /** The layer's diff-id, `sha256:<hex>`; in the push of a list of manifests, the blob's digest. */
  layer: string;
  /** Bytes read so far: of the blob if it is copied, of the tar if it is compressed. */
  done: number;
  total: number;
  /** Path of the other repository. */
  from?: string;
}

/** What `push` stored. */
export interface Pushed {
  /** The name in full: `docker.io/library/debian:12`. */
  name: string;
  /** `sha256:<hex>` of the manifest. */
  digest: string;
  /** Bytes of the manifest. */
  size: number;
  /**
   * Diff-ids of layers that came from a registry and were compressed again, because no registry
   * gave their blobs. Their digests have changed, and with them the manifest's.
   */
  recompressed: string[];
}

export interface CommitOptions {
  /** `NAME[:TAG]`. The image that has the name now loses it. */
  name?: string;
  /** Overrides the base image's config. Applied before `changes`. */
  config?: Partial<ImageConfig>;
  /** As `docker commit --change`. */
  changes?: string[];
  author?: string;
  comment?: string;
  /** The command that made the layer, for the history. */
  createdBy?: string;
  /** Once aborted, the commit fails with the reason, unless the image is there already. */
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}

export interface ImportOptions {
  /** Overrides the defaults. Applied before `changes`. */
  config?: Partial<ImageConfig>;
  /**
   * Dockerfile-like instructions, as `docker import --change`: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL,
   * ...
   */
  changes?: string[];
  onProgress?: (progress: Progress) => void;
}

/**
 * The images of one `$TSVM_HOME`. Every method fails with an `ImageError`. Several processes may
 * use one store at once.
 */
export interface Store {
  /**
   * Finds the image a reference names: a local name or ID, or `oci:DIR[:TAG]`,
   * `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:TAG]`. An image in a file is first loaded into
   * the store if it is not there yet. A name that the store lacks is pulled from its registry if
   * `pull` allows it.
   */
  resolve(reference: string, options?: ResolveOptions): Promise<Image>;
  /**
   * Pulls an image from its registry into the store and names it. Layers that the store has are not
   * downloaded.
   */
  pull(reference: string, options?: PullOptions): Promise<Pulled>;
  /**
   * Pushes an image of the store to the registry of its name. Layers that came from a registry keep
   * their digests.
   *
   * @param name `NAME[:TAG]`
   */
  push(name: string, options?: PushOptions): Promise<Pushed>;
  /**
   * Makes an image of one layer out of a root file system's tar, plain or compressed with gzip,
   * zstd or xz.
   *
   * @param source a path, `-` for standard input, or a stream of bytes
   * @param name `NAME[:TAG]`. The image that has the name now loses it
   */
  import(source: string | AsyncIterable<Uint8Array>, name: string, options?: ImportOptions): Promise<ImageSummary>;
  /** All images, newest first; an image with several names has several lines. */
  list(): Promise<ImageSummary[]>;
  /**
   * Loads all images of an archive, or of an OCI layout's directory, with the names it gives them.
   *
   * @param source a path, or a stream of bytes; either may be compressed
   */
  load(source: string | AsyncIterable<Buffer>, options?: LoadOptions): Promise<LoadedImage[]>;
  /**
   * Writes images as one archive that is both an OCI layout and an input of `docker load`. Layers
   * are uncompressed, so image IDs stay the same.
   *
   * @param references names, each of which the archive gives to its image, or IDs
   * @throws ImageError if the output fails. What was written by then is incomplete: discard it.
   */
  save(references: string[], output: Writable): Promise<void>;
  /** Describes an image in the store. */
  inspect(reference: string): Promise<ImageDetails>;
  /** How an image was made, last step first. */
  history(reference: string): Promise<HistoryEntry[]>;
  /** Gives an image in the store another name. If another image has that name, it loses it. */
  tag(reference: string, name: string): Promise<void>;
  /**
   * Removes a name. With its last name the image goes, and each layer that no other image has. An
   * ID removes the image together with the one name it may have.
   */
  remove(reference: string, options?: RemoveOptions): Promise<Removal>;
  /** Removes images that have no name and no container. */
  prune(options?: PruneOptions): Promise<Pruned>;
  usage(): Promise<StoreUsage>;
  /**
   * Makes an image from a base image and one more layer, a tar with OCI whiteouts.
   *
   * @param base the base image's ID
   * @returns the new image's ID
   */
  commit(base: string, layer: AsyncIterable<Buffer>, options?: CommitOptions): Promise<string>;
  /**
   * Opens the files of an image, for copies to the host.
   *
   * @param digest the image ID
   */
  open(digest: string): Promise<ImageContents>;
  /**
   * Keeps an image in the store until `release`, even after this process ends. A running machine
   * needs no holder: it locks the files of its disk.
   *
   * @param holder a container's ID. It holds one image at a time.
   * @returns the image ID
   */
  hold(holder: string, reference: string): Promise<string>;
  release(holder: string): Promise<void>;
  /** All that hold an image. */
  holders(): Promise<string[]>;
}
