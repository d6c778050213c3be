// A tar archive (POSIX.1-2001, "pax Interchange Format") as it is written to stdout.
#ifndef TSVM_ARCHIVE_H
#define TSVM_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum archive_kind {
	ARCHIVE_FILES, // as they are
	ARCHIVE_LAYER, // of an overlay's upper directory: whiteouts as OCI images have them
};

// Adds `path`, relative to the directory `at`, with everything below it, under `name`. False when it fails, which has
// been said.
bool archive_add(int at, const char *path, const char *name, enum archive_kind kind);

// Ends the archive.
bool archive_end(void);

#endif
