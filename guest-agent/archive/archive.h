// A tar archive (POSIX.1-2001, "pax Interchange Format") as it is written to stdout.
#ifndef TSVM_ARCHIVE_H
#define TSVM_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum archive_kind {
	ARCHIVE_FILES, // files as they are
	ARCHIVE_LAYER, // an overlay's upper directory, with OCI whiteouts
};

// Adds `path`, relative to the directory `at`, and everything below it, as `name`. Returns false if
// it fails, after reporting why.
bool archive_add(int at, const char *path, const char *name, enum archive_kind kind);

// Ends the archive.
bool archive_end(void);

#endif
