// What the images room hands out: plain data that says what an image is and where its disk lies.

import type { Writable } from 'node:stream';

/** A range of a host file. `offset` and `length` are bytes, `length` a multiple of 4096. */
export interface Extent {
  path: string;
  offset: number;
  length: number;
}

/**
 * The fields of an OCI image config that a run needs (OCI image-spec 1.1, config.md), with absent ones filled in:
 * an absent list is empty, an absent string is ''. `ExposedPorts` and `Volumes` are the keys of the OCI sets.
 */
export interface ImageConfig {
  architecture: string;
  os: string;
  /** RFC 3339 time, or '' when the image does not say. */
  created: string;
  /** `NAME=value`. */
  Env: string[];
  Entrypoint: string[];
  Cmd: string[];
  /** `user`, `uid`, `user:group` or `uid:gid`, as the image says it; '' is root. */
  User: string;
  WorkingDir: string;
  /** A signal name or number, or ''. */
  StopSignal: string;
  /** `80/tcp`. */
  ExposedPorts: string[];
  /** Absolute paths. */
  Volumes: string[];
  Labels: Record<string, string>;
}

/** An image that can be run now. */
export interface Image {
  /** The image ID, `sha256:<hex>`: the digest of its config. */
  digest: string;
  config: ImageConfig;
  /** Laid end to end, one EROFS file system. Read only. */
  disk: Extent[];
}

/** One line of a list of images. */
export interface ImageSummary {
  /** The familiar repository name (`debian`), or null when no name refers to the image. */
  name: string | null;
  tag: string | null;
  /** The image ID, `sha256:<hex>`. */
  digest: string;
  /** `sha256:<hex>` of the manifest it came with, or null when it came without. */
  manifest: string | null;
  /** RFC 3339 time, or ''. */
  created: string;
  labels: Record<string, string>;
  /** Bytes its layers and its disk metadata take on the host's disk; layers shared with other images count in each. */
  size: number;
  /** Of these, the bytes of layers that other images have too. */
  sharedSize: number;
}

/** An image in the words of `docker image inspect`. */
export interface ImageDetails {
  Id: string;
  RepoTags: string[];
  RepoDigests: string[];
  Comment: string;
  Created: string;
  Author: string;
  /** The config's own `config` as it is, with null or '' for the usual fields that it lacks. */
  Config: Record<string, unknown>;
  Architecture: string;
  Os: string;
  /** Bytes on the host's disk. */
  Size: number;
  RootFS: { Type: 'layers'; Layers: string[] };
}

/** One step of an image's making. */
export interface HistoryEntry {
  /** RFC 3339 time, or ''. */
  created: string;
  createdBy: string;
  comment: string;
  /** The diff-id of the layer it made, `sha256:<hex>`, or null. */
  layer: string | null;
  /** Bytes of that layer on the host's disk. */
  size: number;
}

/** What the store takes of the host's disk, in bytes. */
export interface StoreUsage {
  /** `active` counts the images that a container has; `reclaimable` is what removing the others would give back. */
  images: { total: number; active: number; size: number; reclaimable: number };
  /** What is being made, or was left by a process that died. */
  temporary: { total: number; size: number };
}

/** An image that `load` found in an archive. */
export interface LoadedImage {
  /** The image ID, `sha256:<hex>`. */
  digest: string;
  /** The names it got, familiar. */
  names: string[];
}

/** What `remove` did: names taken away, and image IDs and layer diff-ids whose bytes are gone. */
export interface Removal {
  untagged: string[];
  deleted: string[];
}

export interface RemoveOptions {
  /** Take all names of an image that has several, and names of an image that is in use (which then stays). */
  force?: boolean;
}

export interface PruneOptions {
  /** Also images that have a name. */
  all?: boolean;
  /** Images that are to stay all the same, by ID. */
  keep?: (digest: string) => boolean;
}

/** What `prune` did. */
export interface Pruned extends Removal {
  /** Bytes of the host's disk. */
  reclaimed: number;
}

/** Where a long operation is. */
export interface Progress {
  /** `present` is a layer that need not be read, told once. */
  phase: 'present' | 'layer' | 'disk';
  /** The layer's digest as the source names it; '' where it has none yet. */
  layer: string;
  /** Bytes of the layer read from the source so far. */
  done: number;
  /** Bytes of the layer in the source, or undefined when that is not known. */
  total: number | undefined;
}

/** When a registry is asked for an image that a name stands for. */
export type PullPolicy = 'missing' | 'always' | 'never';

export interface ResolveOptions {
  /** Default `never`. */
  pull?: PullPolicy;
  /** `OS/ARCH[/VARIANT]`; default: what this machine runs. */
  platform?: string;
  /** Told when an image is going to be pulled, for want of it. */
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
  /** `sha256:<hex>` of the manifest or index that the name stands for. */
  manifest: string;
  /** The image ID, `sha256:<hex>`. */
  digest: string;
  /** Whether the name stood for another image, or for none, before. */
  changed: boolean;
}

export interface CommitOptions {
  /** `NAME[:TAG]`; an image that has the name now loses it. */
  name?: string;
  /** Set over the base's, before `changes`. */
  config?: Partial<ImageConfig>;
  /** As `docker commit --change`. */
  changes?: string[];
  author?: string;
  comment?: string;
  /** What made the layer: a command. */
  createdBy?: string;
  onProgress?: (progress: Progress) => void;
}

export interface ImportOptions {
  /** Set over the defaults, before `changes`. */
  config?: Partial<ImageConfig>;
  /** Dockerfile-like instructions, as `docker import --change`: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ... */
  changes?: string[];
  onProgress?: (progress: Progress) => void;
}

/**
 * The images of one `$TSVM_HOME`. Every method fails with an `ImageError`. Several processes may use one store at
 * once.
 */
export interface Store {
  /**
   * Finds the image a reference names: a local name or ID, or `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`,
   * `docker-archive:FILE[:TAG]`, which are first brought into the store if they are not there yet. A name that the
   * store lacks is pulled from its registry if `pull` says so.
   */
  resolve(reference: string, options?: ResolveOptions): Promise<Image>;
  /** Brings an image from its registry into the store and gives it its name there; layers that are there are not read. */
  pull(reference: string, options?: PullOptions): Promise<Pulled>;
  /**
   * Makes an image of one layer out of a root file system's tar, plain or compressed with gzip, zstd or xz.
   *
   * @param source a path, `-` for standard input, or a stream of bytes
   * @param name `NAME[:TAG]`; an image that has the name now loses it
   */
  import(source: string | AsyncIterable<Uint8Array>, name: string, options?: ImportOptions): Promise<ImageSummary>;
  /** All images, newest first; an image with several names has several lines. */
  list(): Promise<ImageSummary[]>;
  /**
   * Brings all images of an archive, or of an OCI layout's directory, into the store, with the names it gives them.
   *
   * @param source a path, or a stream of bytes; either may be compressed
   */
  load(source: string | AsyncIterable<Buffer>, options?: LoadOptions): Promise<LoadedImage[]>;
  /**
   * Writes images as an archive that is an OCI layout and what `docker load` reads at once. Layers are uncompressed, so
   * that image IDs stay the same.
   *
   * @param references names, each of which the archive gives to its image, or IDs
   * @throws ImageError what fails the output fails with; what is written then is of no use
   */
  save(references: string[], output: Writable): Promise<void>;
  /** What there is to say of an image in the store. */
  inspect(reference: string): Promise<ImageDetails>;
  /** How an image was made, last step first. */
  history(reference: string): Promise<HistoryEntry[]>;
  /** Gives an image in the store one more name, which another image may lose by it. */
  tag(reference: string, name: string): Promise<void>;
  /**
   * Takes a name away, and with its last name the image and the layers that no other image has; an ID takes the image
   * with the one name it may have.
   */
  remove(reference: string, options?: RemoveOptions): Promise<Removal>;
  /** Removes images without a name that no container has. */
  prune(options?: PruneOptions): Promise<Pruned>;
  usage(): Promise<StoreUsage>;
  /**
   * Makes an image of another one and one more layer, a tar with OCI's whiteouts.
   *
   * @param base the other one's ID
   * @returns the new image's ID
   */
  commit(base: string, layer: AsyncIterable<Buffer>, options?: CommitOptions): Promise<string>;
  /**
   * Copies what an image has in a directory into a folder of the host: files, directories and symbolic links, with
   * modes, times, hard links and holes; owners and set-id bits where the caller is root. All of it is written out.
   *
   * @param digest the image ID
   * @param folder is there, empty, and nobody else's; gets the directory's own owner, mode and time, too
   * @returns false where the image has nothing at `path`
   */
  extract(digest: string, path: string, folder: string): Promise<boolean>;
  /**
   * Keeps an image in the store, beyond the life of this process and until `release`. What runs needs no holder: a
   * machine locks the files of its disk.
   *
   * @param holder who needs it, a container's ID; holds one image at a time
   * @returns the image ID
   */
  hold(holder: string, reference: string): Promise<string>;
  release(holder: string): Promise<void>;
}
