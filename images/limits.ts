// The limits of a hostile image. Each is far above what real images need and far below what would
// hurt the machine. Exceeding one is the error `too-large`, whose message names the limit.
// docs/images.md lists them.

export const MAX_LAYERS = 512;
export const MAX_ENTRIES_PER_LAYER = 1_000_000;
/** Entries of all layers. An entry that occurs twice counts twice. */
export const MAX_ENTRIES_PER_IMAGE = 4_000_000;
/**
 * Names in one image: files, directories and all else, including parents that no layer mentions.
 */
export const MAX_NAMES_PER_IMAGE = 1_000_000;
/**
 * Path components visited to resolve one image's paths. Bounds symbolic links that lead through
 * long paths.
 */
export const MAX_PATH_STEPS_PER_IMAGE = 50_000_000;
/** Bytes, as Linux's NAME_MAX. */
export const MAX_NAME_BYTES = 255;
/** Bytes, as Linux's PATH_MAX; of entry names and of link targets. */
export const MAX_PATH_BYTES = 4096;
/** Depth of nested directories. */
export const MAX_DEPTH = 1024;
/** Bytes of extended headers (PAX, GNU long names) before one entry; as Go's archive/tar. */
export const MAX_EXTENDED_HEADER_BYTES = 1 << 20;
/** Data segments of one sparse file. */
export const MAX_SPARSE_SEGMENTS = 1 << 20;
/**
 * Bytes of one extended attribute's value, and of all of one file's names and values; as Linux's
 * XATTR_SIZE_MAX.
 */
export const MAX_XATTR_VALUE_BYTES = 65535;
export const MAX_XATTR_BYTES = 128 * 1024;
/** Bytes of one file, holes counted. */
export const MAX_FILE_BYTES = 4 * 2 ** 40;
/** Bytes of one layer's tar, decompressed. */
export const MAX_LAYER_TAR_BYTES = 512 * 2 ** 30;
/**
 * Bytes of one layer's contents with holes counted: EROFS addresses 2^32 blocks of 4 KiB for the
 * whole image.
 */
export const MAX_LAYER_DATA_BYTES = 8 * 2 ** 40;
export const MAX_IMAGE_BYTES = 16 * 2 ** 40 - 4096;
/**
 * How far compressed data may expand: to this many bytes in any case, and beyond that to this many
 * times their size. gzip expands at most 1032 times, zstd and xz tens of thousands of times.
 */
export const MAX_EXPANSION_BYTES = 2 ** 30;
export const MAX_EXPANSION_RATIO = 500;
/** Bytes of names and attributes in one layer's index. */
export const MAX_INDEX_HEAP_BYTES = 128 << 20;
/** Bytes of all layers' indexes, which are in memory together while an image's disk is made. */
export const MAX_INDEX_BYTES_PER_IMAGE = 512 << 20;
/** Bytes of a manifest, an index or an image config; as the registries' own limit. */
export const MAX_JSON_BYTES = 4 << 20;
/** Manifests of a list that is made here. */
export const MAX_LIST_MEMBERS = 256;
/** Bytes of the manifests that one `manifest inspect` reads. */
export const MAX_INSPECTED_BYTES = 64 << 20;
/** Files of an archive that holds an image. */
export const MAX_ARCHIVE_ENTRIES = 100_000;
/**
 * Names, and bytes of files and attributes, that the VOLUMEs of one image may have in common. Each
 * gets a copy on the host.
 */
export const MAX_REPEATED_NAMES = 100_000;
export const MAX_REPEATED_BYTES = 256 << 20;
