// Writes archives: names, owners, modes, times to the nanosecond, hard links, extended attributes
// and devices.
#include "archive/archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/files.h"
#include "base/linux.h"
#include "archive/tar.h"

enum {
	OUTPUT_SIZE = 64 * 1024,
	MAX_XATTRS = 64 * 1024, // the kernel's XATTR_LIST_MAX and XATTR_SIZE_MAX
	LINK_BUCKETS = 4096,
};

static uint8_t output[OUTPUT_SIZE];
static size_t output_length;

struct bytes {
	char *data;
	size_t length;
	size_t capacity;
};

// A file with several names, written under one of them already.
struct written {
	struct written *next;
	dev_t device;
	ino_t inode;
	char name[];
};

static struct written *links[LINK_BUCKETS];

static bool flush(void)
{
	for (size_t done = 0; done < output_length;) {
		ssize_t count = write(STDOUT_FILENO, output + done, output_length - done);

		if (count < 0)
			return print_error("write");
		done += (size_t)count;
	}
	output_length = 0;
	return true;
}

static bool put(const void *bytes, size_t length)
{
	const uint8_t *next = bytes;

	while (length > 0) {
		size_t part = OUTPUT_SIZE - output_length;

		if (part > length)
			part = length;
		memcpy(output + output_length, next, part);
		output_length += part;
		next += part;
		length -= part;
		if (output_length == OUTPUT_SIZE && !flush())
			return false;
	}
	return true;
}

static bool pad(uint64_t length)
{
	static const char zeros[TAR_BLOCK];
	size_t over = (size_t)(length % TAR_BLOCK);

	return over == 0 || put(zeros, TAR_BLOCK - over);
}

static bool append(struct bytes *bytes, const void *data, size_t length)
{
	if (bytes->length + length > bytes->capacity) {
		size_t capacity = 2 * (bytes->length + length);
		char *grown = realloc(bytes->data, capacity);

		if (grown == NULL)
			return print_error("archive");
		bytes->data = grown;
		bytes->capacity = capacity;
	}
	memcpy(bytes->data + bytes->length, data, length);
	bytes->length += length;
	return true;
}

// The length of a record includes the digits of that length.
static bool add_record(struct bytes *records, const char *key, const void *value, size_t length)
{
	size_t rest = strlen(key) + length + 3;
	size_t total = rest + 1;
	char start[512];
	char digits[24];

	while ((size_t)snprintf(digits, sizeof digits, "%zu", total) + rest != total)
		total = rest + strlen(digits);
	snprintf(start, sizeof start, "%zu %s=", total, key);
	return append(records, start, strlen(start)) && append(records, value, length) && append(records, "\n", 1);
}

static bool add_text(struct bytes *records, const char *key, const char *text)
{
	return add_record(records, key, text, strlen(text));
}

static bool add_number(struct bytes *records, const char *key, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof text, "%llu", (unsigned long long)number);
	return add_text(records, key, text);
}

// Octal, or zero if it does not fit. A pax record has the number then.
static void store_octal(char *field, size_t size, uint64_t number)
{
	bool fits = number >> 3 * (size - 1) == 0;

	snprintf(field, size, "%0*llo", (int)size - 1, (unsigned long long)(fits ? number : 0));
}

static bool is_too_large(uint64_t number, size_t size)
{
	return number >> 3 * (size - 1) != 0;
}

static bool put_header(struct tar_header *header, char type, uint64_t size)
{
	unsigned sum = 0;

	header->type = type;
	store_octal(header->size, sizeof header->size, size);
	memcpy(header->magic, "ustar", 6);
	memcpy(header->version, "00", 2);
	memset(header->checksum, ' ', sizeof header->checksum);
	for (size_t i = 0; i < sizeof *header; i++)
		sum += ((const uint8_t *)header)[i];
	snprintf(header->checksum, sizeof header->checksum, "%06o", sum);
	return put(header, sizeof *header);
}

static bool put_records(const struct bytes *records)
{
	struct tar_header header = { .name = "pax", .mode = "0000644", .uid = "0000000", .gid = "0000000" };

	store_octal(header.mtime, sizeof header.mtime, 0);
	return records->length == 0 || (put_header(&header, 'x', records->length) &&
					put(records->data, records->length) && pad(records->length));
}

static bool is_internal(const char *attribute, enum archive_kind kind)
{
	return kind == ARCHIVE_LAYER && strncmp(attribute, "trusted.overlay.", strlen("trusted.overlay.")) == 0;
}

static bool add_xattrs(struct bytes *records, int file, enum archive_kind kind)
{
	static char names[MAX_XATTRS];
	static char value[MAX_XATTRS];
	ssize_t length = flistxattr(file, names, sizeof names);

	for (const char *name = names; length > 0 && name < names + length; name += strlen(name) + 1) {
		ssize_t size = fgetxattr(file, name, value, sizeof value);
		char key[512];

		if (size < 0 || is_internal(name, kind))
			continue;
		snprintf(key, sizeof key, "SCHILY.xattr.%.255s", name); // XATTR_NAME_MAX
		if (!add_record(records, key, value, (size_t)size))
			return false;
	}
	return true;
}

// Decimal seconds. The nanoseconds of a timespec count forwards, a fraction away from zero.
static void format_time(char *text, size_t size, struct timespec time)
{
	bool negative = time.tv_sec < 0;
	bool borrows = negative && time.tv_nsec > 0;
	long long seconds = (long long)time.tv_sec + (borrows ? 1 : 0);

	snprintf(text, size, "%s%lld.%09ld", negative ? "-" : "", negative ? -seconds : seconds,
		 borrows ? 1000000000 - time.tv_nsec : time.tv_nsec);
}

static bool put_entry(const char *name, const struct stat *status, char type, const char *linkname, int file,
		      enum archive_kind kind)
{
	struct tar_header header = { 0 };
	struct bytes records = { 0 };
	uint64_t size = type == '0' ? (uint64_t)status->st_size : 0;
	char mtime[48];
	bool done;

	memcpy(header.name, name, strnlen(name, sizeof header.name));
	memcpy(header.linkname, linkname, strnlen(linkname, sizeof header.linkname));
	store_octal(header.mode, sizeof header.mode, status->st_mode & 07777);
	store_octal(header.uid, sizeof header.uid, status->st_uid);
	store_octal(header.gid, sizeof header.gid, status->st_gid);
	store_octal(header.mtime, sizeof header.mtime, (uint64_t)status->st_mtim.tv_sec);
	if (type == '3' || type == '4') {
		store_octal(header.major, sizeof header.major, major(status->st_rdev));
		store_octal(header.minor, sizeof header.minor, minor(status->st_rdev));
	}
	format_time(mtime, sizeof mtime, status->st_mtim);
	done = (strlen(name) <= sizeof header.name || add_text(&records, "path", name)) &&
	       (strlen(linkname) <= sizeof header.linkname || add_text(&records, "linkpath", linkname)) &&
	       (!is_too_large(status->st_uid, sizeof header.uid) || add_number(&records, "uid", status->st_uid)) &&
	       (!is_too_large(status->st_gid, sizeof header.gid) || add_number(&records, "gid", status->st_gid)) &&
	       (!is_too_large(size, sizeof header.size) || add_number(&records, "size", size)) &&
	       ((status->st_mtim.tv_nsec == 0 &&
		 !is_too_large((uint64_t)status->st_mtim.tv_sec, sizeof header.mtime)) ||
		add_text(&records, "mtime", mtime)) &&
	       (file < 0 || type == '1' || add_xattrs(&records, file, kind)) && put_records(&records) &&
	       put_header(&header, type, size);
	free(records.data);
	return done;
}

// A file that changes while it is read is cut, or padded with zeros, to the size in its header.
static bool put_contents(int file, uint64_t size)
{
	static uint8_t chunk[OUTPUT_SIZE];

	for (uint64_t done = 0; done < size;) {
		size_t wanted = size - done < sizeof chunk ? (size_t)(size - done) : sizeof chunk;
		ssize_t count = read(file, chunk, wanted);

		if (count < 0)
			return print_error("read");
		if (count == 0) {
			memset(chunk, 0, wanted);
			count = (ssize_t)wanted;
		}
		if (!put(chunk, (size_t)count))
			return false;
		done += (uint64_t)count;
	}
	return pad(size);
}

// Returns the name under which the file was written before. If there is none, remembers `name` and
// returns NULL.
static const char *find_link(const struct stat *status, const char *name)
{
	struct written **bucket = &links[status->st_ino % LINK_BUCKETS];
	struct written *link;

	for (link = *bucket; link != NULL; link = link->next) {
		if (link->inode == status->st_ino && link->device == status->st_dev)
			return link->name;
	}
	link = malloc(sizeof *link + strlen(name) + 1);
	if (link != NULL) {
		link->device = status->st_dev;
		link->inode = status->st_ino;
		strcpy(link->name, name);
		link->next = *bucket;
		*bucket = link;
	}
	return NULL;
}

static bool add_special(int at, const char *path, const char *name, const struct stat *status, enum archive_kind kind)
{
	static char target[PATH_MAX];
	ssize_t length;

	switch (status->st_mode & S_IFMT) {
	case S_IFLNK:
		length = readlinkat(at, path, target, sizeof target - 1);
		if (length < 0)
			return print_error(name);
		target[length] = '\0';
		return put_entry(name, status, '2', target, -1, kind);
	case S_IFCHR:
		return put_entry(name, status, '3', "", -1, kind);
	case S_IFBLK:
		return put_entry(name, status, '4', "", -1, kind);
	case S_IFIFO:
		return put_entry(name, status, '6', "", -1, kind);
	default: // a socket is of no use without the process that bound it
		return true;
	}
}

static bool add_file(int at, const char *path, const char *name, const struct stat *status, enum archive_kind kind)
{
	int file = openat(at, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool added;

	if (file < 0)
		return errno == ENOENT || print_error(name);
	added = put_entry(name, status, '0', "", file, kind) && put_contents(file, (uint64_t)status->st_size);
	close(file);
	return added;
}

// An empty file whose name marks another file as deleted. OCI image-spec, layer.md, "Whiteouts".
static bool put_whiteout(const char *directory, const char *hidden, const char *whited)
{
	struct stat status = { .st_mode = S_IFREG };
	char *name;
	bool done;

	if (asprintf(&name, "%s%s%s%s", directory, directory[0] != '\0' ? "/" : "", hidden, whited) < 0)
		return print_error("archive");
	done = put_entry(name, &status, '0', "", -1, ARCHIVE_FILES);
	free(name);
	return done;
}

static bool is_whiteout(const struct stat *status, enum archive_kind kind)
{
	return kind == ARCHIVE_LAYER && S_ISCHR(status->st_mode) && status->st_rdev == 0;
}

static bool is_opaque(int directory)
{
	char value[2];

	return fgetxattr(directory, "trusted.overlay.opaque", value, sizeof value) == 1 && value[0] == 'y';
}

static int by_name(const void *one, const void *other)
{
	return strcmp(*(char *const *)one, *(char *const *)other);
}

// Reads the names in a directory, sorted. The caller frees each, and the list. Returns false on an
// error, with what was read.
static bool read_names(DIR *entries, char ***names, size_t *count)
{
	size_t capacity = 0;
	struct dirent *entry;

	*names = NULL;
	*count = 0;
	while ((entry = next_entry(entries)) != NULL) {
		if (*count == capacity) {
			char **more;

			capacity = capacity == 0 ? 64 : 2 * capacity;
			more = reallocarray(*names, capacity, sizeof *more);
			if (more == NULL)
				return false;
			*names = more;
		}
		(*names)[*count] = strdup(entry->d_name);
		if ((*names)[*count] == NULL)
			return false;
		++*count;
	}
	if (errno != 0)
		return false;
	if (*count > 0)
		qsort(*names, *count, sizeof **names, by_name);
	return true;
}

static bool add_child(int directory, const char *parent, const char *name, enum archive_kind kind)
{
	struct stat status;
	char *child;
	bool added;

	if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && is_whiteout(&status, kind))
		return put_whiteout(parent, ".wh.", name);
	if (asprintf(&child, "%s%s%s", parent, parent[0] != '\0' ? "/" : "", name) < 0)
		return print_error("archive");
	added = archive_add(directory, name, child, kind);
	free(child);
	return added;
}

// In the order of names: that of a directory is another in each file system, and archives of the
// same files shall be the same.
static bool add_children(int directory, const char *name, enum archive_kind kind)
{
	DIR *entries = fdopendir(directory);
	char **names;
	size_t count;
	bool added;

	if (entries == NULL) {
		close(directory);
		return print_error(name);
	}
	added = read_names(entries, &names, &count) || print_error(name);
	if (added && kind == ARCHIVE_LAYER && is_opaque(directory))
		added = put_whiteout(name, ".wh..wh..opq", "");
	for (size_t i = 0; i < count; i++) {
		added = added && add_child(directory, name, names[i], kind);
		free(names[i]);
	}
	free(names);
	closedir(entries);
	return added;
}

// Returns true for a file system that shows the kernel's state: what looks like files there is
// none.
static bool is_kernels(int directory)
{
	static const unsigned long kinds[] = {
		PROC_SUPER_MAGIC, SYSFS_MAGIC,   CGROUP2_SUPER_MAGIC, DEVPTS_SUPER_MAGIC,
		SECURITYFS_MAGIC, TRACEFS_MAGIC, DEBUGFS_MAGIC,       BPF_FS_MAGIC,
	};
	struct statfs status;

	if (fstatfs(directory, &status) != 0)
		return false;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if ((unsigned long)status.f_type == kinds[i])
			return true;
	}
	return false;
}

// Returns true if a file system of the kernel's is mounted at `directory`, an entry of `parent`.
static bool begins_kernels(int parent, int directory)
{
	return parent != AT_FDCWD && is_kernels(directory) && !is_kernels(parent);
}

static bool add_directory(int at, const char *path, const char *name, const struct stat *status, enum archive_kind kind)
{
	int directory = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char *entry;
	bool added;

	if (directory < 0)
		return errno == ENOENT || print_error(name);
	if (asprintf(&entry, "%s/", name[0] != '\0' ? name : ".") < 0) {
		close(directory);
		return print_error("archive");
	}
	added = put_entry(entry, status, '5', "", directory, kind);
	free(entry);
	if (!added) {
		close(directory);
		return false;
	}
	if (begins_kernels(at, directory)) {
		close(directory);
		return true;
	}
	return add_children(directory, name, kind);
}

bool archive_add(int at, const char *path, const char *name, enum archive_kind kind)
{
	struct stat status;

	if (fstatat(at, path, &status, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT || print_error(name);
	if (S_ISDIR(status.st_mode))
		return add_directory(at, path, name, &status, kind);
	if (status.st_nlink > 1) {
		const char *before = find_link(&status, name);

		if (before != NULL)
			return put_entry(name, &status, '1', before, -1, kind);
	}
	if (S_ISREG(status.st_mode))
		return add_file(at, path, name, &status, kind);
	return add_special(at, path, name, &status, kind);
}

bool archive_end(void)
{
	static const char zeros[2 * TAR_BLOCK];

	return put(zeros, sizeof zeros) && flush();
}
