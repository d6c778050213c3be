// A tar archive (POSIX.1-2001, "pax Interchange Format") as it is written to stdout.
#ifndef TSVM_ARCHIVE_H
#define TSVM_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum {
	TAR_BLOCK = 512,
};

// The header of a file, as on the wire.
struct tar_header {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char checksum[8];
	char type;
	char linkname[100];
	char magic[6];
	char version[2];
	char user[32];
	char group[32];
	char major[8];
	char minor[8];
	char prefix[155];
	char unused[12];
};

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
