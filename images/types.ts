// What the images room hands out: plain data that says what an image is and where its disk lies.

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
  /** RFC 3339 time, or ''. */
  created: string;
  /** Bytes its layers and its disk metadata take on the host's disk; layers shared with other images count in each. */
  size: number;
}

/** What `remove` did: names taken away, and image IDs and layer diff-ids whose bytes are gone. */
export interface Removal {
  untagged: string[];
  deleted: string[];
}

/** Where a long operation is. */
export interface Progress {
  phase: 'layer' | 'disk';
  /** The layer's digest as the source names it; '' where it has none yet. */
  layer: string;
  /** Bytes of the layer read from the source so far. */
  done: number;
  /** Bytes of the layer in the source, or undefined when that is not known. */
  total: number | undefined;
}

export interface ResolveOptions {
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
   * `docker-archive:FILE[:TAG]`, which are first brought into the store if they are not there yet.
   */
  resolve(reference: string, options?: ResolveOptions): Promise<Image>;
  /**
   * Makes an image of one layer out of a root file system's tar, plain or compressed with gzip, zstd or xz.
   *
   * @param source a path, `-` for standard input, or a stream of bytes
   * @param name `NAME[:TAG]`; an image that has the name now loses it
   */
  import(source: string | AsyncIterable<Uint8Array>, name: string, options?: ImportOptions): Promise<ImageSummary>;
  /** All images, newest first; an image with several names has several lines. */
  list(): Promise<ImageSummary[]>;
  /** Takes a name away, and with its last name the image and the layers that no other image has. */
  remove(reference: string): Promise<Removal>;
}
