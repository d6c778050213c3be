// Extended headers, which precede the header of a tar entry and overrule it: pax records ('x'),
// GNU's long names ('L') and long link targets ('K').
#ifndef TSVM_TAR_EXTENSION_H
#define TSVM_TAR_EXTENSION_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

// The largest size of an entry. Its padding still fits in 63 bits.
#define TAR_MAX_SIZE ((uint64_t)INT64_MAX - 512)

struct tar_extension {
	bool has_path, has_linkname, has_size, has_uid, has_gid, has_mtime;
	char path[PATH_MAX];
	char linkname[PATH_MAX];
	uint64_t size;
	uid_t uid;
	gid_t gid;
	struct timespec mtime;
	char *records; // the pax records, not terminated
	size_t length;
};

// Takes the contents of an extended header of type 'x', 'L' or 'K'. `text` is at least one byte
// from malloc, and the extension owns it from now on. Returns false if the contents are malformed.
bool tar_extension_take(struct tar_extension *extension, char type, char *text, size_t length);

// `name` is terminated and at most 255 bytes long; `value` is not terminated.
typedef void tar_xattr_function(void *owner, const char *name, const char *value, size_t length);

// Calls `act` for each extended attribute.
void tar_extension_each_xattr(const struct tar_extension *extension, tar_xattr_function *act, void *owner);

// Empties the extension and frees what it holds.
void tar_extension_forget(struct tar_extension *extension);

#endif
