// Reads a tar archive: ustar, pax records, and GNU's long names. The archive is hostile input.
#ifndef TSVM_TAR_READER_H
#define TSVM_TAR_READER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "archive/tar-extension.h"

struct tar_entry {
	char type;               // '0' (a file) to '6' as in the header; else unknown, with contents to skip
	char path[PATH_MAX];     // relative, without ".."; "." for the directory itself
	char linkname[PATH_MAX]; // of a hard link ('1'): as `path`; of a symbolic link ('2'): as written
	uint64_t size;           // of the contents, in bytes; 0 for types '1' to '6'
	uid_t uid;
	gid_t gid;
	mode_t mode; // 12 bits
	struct timespec mtime;
	dev_t device;
};

// A zeroed reader with its `file` set is ready.
struct tar_reader {
	int file;
	const char *error;              // why tar_next or tar_read failed
	struct tar_entry entry;         // the current one
	uint64_t left;                  // bytes of the entry's contents not read yet
	uint64_t padding;               // bytes after the contents
	struct tar_extension extension; // of the current entry
};

enum tar_event {
	TAR_ENTRY, // `entry` is the next one
	TAR_END,   // the end mark, or the end of the file between two entries
	TAR_ERROR, // `error` says why
};

// Passes over what is left of the current entry and reads the next one.
enum tar_event tar_next(struct tar_reader *reader);

// Reads up to `size` bytes of the current entry's contents. `*count` is 0 at their end. Returns
// false on an error, and `error` says why.
bool tar_read(struct tar_reader *reader, void *bytes, size_t size, size_t *count);

// Frees what the reader holds. The file stays open.
void tar_reader_free(struct tar_reader *reader);

#endif
