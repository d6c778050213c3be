// The limits of a hostile Dockerfile or context. docs/build.md lists them.

/** Bytes of a Dockerfile, with the text that its heredocs hold. */
export const MAX_DOCKERFILE_BYTES = 4 << 20;
export const MAX_STAGES = 1000;
export const MAX_INSTRUCTIONS = 10_000;
export const MAX_PLATFORMS = 16;
/** Characters of a word once its variables are expanded. */
export const MAX_EXPANDED = 1 << 20;
/** How deep `${a:-${b:-...}}` may nest. */
export const MAX_NESTING = 64;
/** Ports that all EXPOSE of a Dockerfile name: as many as there are of two protocols. */
export const MAX_EXPOSED = 1 << 17;
/** Bytes of `.dockerignore`, and its patterns. */
export const MAX_IGNORE_BYTES = 1 << 20;
/** Files of a context that one instruction reads. */
export const MAX_FILES = 1_000_000;
/** Depth of nested directories in a context. */
export const MAX_DEPTH = 256;
/** Names in the targets of all links that one instruction follows. Nothing ends a build meanwhile. */
export const MAX_LINK_NAMES = 10_000_000;
/** Bytes of a secret, as in BuildKit. */
export const MAX_SECRET_BYTES = 500 << 10;
/** SSH agents that a RUN mounts. Each takes 16 MiB of this process at most: see `Multiplexer`. */
export const MAX_AGENTS = 8;
/** Bytes of a file that ADD downloads, and of a context that is no folder. */
export const MAX_DOWNLOAD_BYTES = 64 * 2 ** 30;
/** Milliseconds of such a download. */
export const DOWNLOAD_DEADLINE = 4 * 60 * 60 * 1000;
/** Submodules of a repository, with those of its submodules. */
export const MAX_SUBMODULES = 1000;
/** Characters that all words of a Dockerfile expand to in a check. */
export const MAX_CHECKED = 64 << 20;
/** Characters of paths, times those of the patterns of `.dockerignore`, that a check compares. */
export const MAX_IGNORE_WORK = 1 << 27;
/** Findings of a check. */
export const MAX_FINDINGS = 1000;
