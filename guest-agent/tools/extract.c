// Reading archives: tool `extract`. ustar, pax records, and GNU's long names, as tar(1) programs write them. Everything
// happens within the container's root, whose names are the container's own affair.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tools/archive.h"
#include "tools/tool.h"

enum {
	MAX_EXTENSION = 1024 * 1024,
	CHUNK = 64 * 1024,
};

struct entry {
	char path[PATH_MAX];
	char linkname[PATH_MAX];
	uint64_t size;
	uid_t uid;
	gid_t gid;
	mode_t mode;
	struct timespec mtime;
	dev_t device;
	char type;
};

// What came before the entry that it belongs to.
struct extension {
	bool has_path, has_linkname, has_size, has_uid, has_gid, has_mtime;
	struct entry values;
	char *records; // pax, for the extended attributes
	size_t length;
};

// A directory whose time is set when everything is in it.
struct directory {
	struct directory *next;
	struct timespec mtime;
	char path[];
};

static struct directory *directories;
static bool keeps_owners;

static bool broken(const char *why)
{
	dprintf(STDERR_FILENO, "archive: %s\n", why);
	return false;
}

// False at the end or an error; `count` bytes or none.
static bool take(void *bytes, size_t count)
{
	uint8_t *next = bytes;

	while (count > 0) {
		ssize_t got = read(STDIN_FILENO, next, count);

		if (got <= 0)
			return false;
		next += got;
		count -= (size_t)got;
	}
	return true;
}

static bool skip(uint64_t count)
{
	static uint8_t chunk[CHUNK];

	while (count > 0) {
		size_t part = count < sizeof chunk ? (size_t)count : sizeof chunk;

		if (!take(chunk, part))
			return false;
		count -= part;
	}
	return true;
}

static uint64_t padding(uint64_t size)
{
	return (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
}

// Octal, or base 256 when the first bit is set.
static uint64_t number(const char *field, size_t size)
{
	uint64_t value = 0;

	if ((field[0] & 0x80) != 0) {
		for (size_t i = 1; i < size; i++)
			value = value << 8 | (uint8_t)field[i];
		return value;
	}
	for (size_t i = 0; i < size && (field[i] == ' ' || (field[i] >= '0' && field[i] <= '7')); i++) {
		if (field[i] != ' ')
			value = value << 3 | (uint64_t)(field[i] - '0');
	}
	return value;
}

static bool is_zero(const struct tar_header *header)
{
	for (size_t i = 0; i < sizeof *header; i++) {
		if (((const char *)header)[i] != 0)
			return false;
	}
	return true;
}

static bool has_checksum(const struct tar_header *header)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof *header; i++) {
		bool own = i >= offsetof(struct tar_header, checksum) && i < offsetof(struct tar_header, type);

		sum += own ? ' ' : ((const uint8_t *)header)[i];
	}
	return sum == number(header->checksum, sizeof header->checksum);
}

static struct timespec parse_time(const char *text)
{
	struct timespec time = { 0 };
	char *point;

	time.tv_sec = (time_t)strtoll(text, &point, 10);
	if (*point == '.') {
		long scale = 100000000;

		for (point++; *point >= '0' && *point <= '9' && scale > 0; point++, scale /= 10)
			time.tv_nsec += (*point - '0') * scale;
	}
	return time;
}

// `value` is terminated; its record goes on to `length`.
static void take_record(struct extension *extension, const char *key, const char *value, size_t length)
{
	struct entry *values = &extension->values;

	if (strcmp(key, "path") == 0 && length < PATH_MAX) {
		extension->has_path = true;
		strcpy(values->path, value);
	} else if (strcmp(key, "linkpath") == 0 && length < PATH_MAX) {
		extension->has_linkname = true;
		strcpy(values->linkname, value);
	} else if (strcmp(key, "size") == 0) {
		extension->has_size = true;
		values->size = strtoull(value, NULL, 10);
	} else if (strcmp(key, "uid") == 0) {
		extension->has_uid = true;
		values->uid = (uid_t)strtoul(value, NULL, 10);
	} else if (strcmp(key, "gid") == 0) {
		extension->has_gid = true;
		values->gid = (gid_t)strtoul(value, NULL, 10);
	} else if (strcmp(key, "mtime") == 0) {
		extension->has_mtime = true;
		values->mtime = parse_time(value);
	}
}

typedef void record_function(void *owner, const char *key, const char *value, size_t length);

static bool each_record(char *records, size_t length, record_function *act, void *owner)
{
	for (size_t at = 0; at < length;) {
		char *rest;
		size_t size = strtoull(records + at, &rest, 10);
		char *key = rest + 1;
		char *equals;

		if (size < 5 || size > length - at || *rest != ' ' || records[at + size - 1] != '\n')
			return false;
		records[at + size - 1] = '\0';
		equals = memchr(key, '=', (size_t)(records + at + size - key));
		if (equals == NULL)
			return false;
		*equals = '\0';
		act(owner, key, equals + 1, (size_t)(records + at + size - 1 - (equals + 1)));
		*equals = '=';
		records[at + size - 1] = '\n';
		at += size;
	}
	return true;
}

static void take_extension_record(void *owner, const char *key, const char *value, size_t length)
{
	take_record(owner, key, value, length);
}

static bool read_extension(struct extension *extension, char type, uint64_t size)
{
	char *text;

	if (size > MAX_EXTENSION)
		return false;
	text = malloc((size_t)size + 1);
	if (text == NULL || !take(text, (size_t)size) || !skip(padding(size))) {
		free(text);
		return false;
	}
	text[size] = '\0';
	if (type == 'x') {
		free(extension->records);
		extension->records = text;
		extension->length = (size_t)size;
		return each_record(text, (size_t)size, take_extension_record, extension);
	}
	if (type == 'L')
		take_record(extension, "path", text, strlen(text));
	else if (type == 'K')
		take_record(extension, "linkpath", text, strlen(text));
	free(text);
	return true;
}

static void read_header(const struct tar_header *header, const struct extension *extension, struct entry *entry)
{
	const struct entry *values = &extension->values;

	if (header->prefix[0] != '\0' && memcmp(header->magic, "ustar", 6) == 0)
		snprintf(entry->path, PATH_MAX, "%.155s/%.100s", header->prefix, header->name);
	else
		snprintf(entry->path, PATH_MAX, "%.100s", header->name);
	snprintf(entry->linkname, PATH_MAX, "%.100s", header->linkname);
	if (extension->has_path)
		strcpy(entry->path, values->path);
	if (extension->has_linkname)
		strcpy(entry->linkname, values->linkname);
	entry->size = extension->has_size ? values->size : number(header->size, sizeof header->size);
	entry->uid = extension->has_uid ? values->uid : (uid_t)number(header->uid, sizeof header->uid);
	entry->gid = extension->has_gid ? values->gid : (gid_t)number(header->gid, sizeof header->gid);
	entry->mode = (mode_t)number(header->mode, sizeof header->mode) & 07777;
	entry->mtime = extension->has_mtime ?
			       values->mtime :
			       (struct timespec){ .tv_sec = (time_t)number(header->mtime, sizeof header->mtime) };
	entry->device = makedev((unsigned)number(header->major, sizeof header->major),
				(unsigned)number(header->minor, sizeof header->minor));
	entry->type = header->type == '\0' || header->type == '7' ? '0' : header->type;
}

// Makes a path relative and free of "..", in place; NULL when it has one.
static char *clean(char *path)
{
	char *from = path;
	size_t length;

	while (*from == '/' || (from[0] == '.' && (from[1] == '/' || from[1] == '\0')))
		from++;
	for (const char *at = from; at != NULL && *at != '\0';) {
		const char *end = strchr(at, '/');
		size_t part = end != NULL ? (size_t)(end - at) : strlen(at);

		if (part == 2 && at[0] == '.' && at[1] == '.')
			return NULL;
		at = end != NULL ? end + 1 : NULL;
	}
	length = strlen(from);
	while (length > 0 && from[length - 1] == '/')
		from[--length] = '\0';
	return length > 0 ? from : strcpy(path, ".");
}

static bool make_parents(char *path)
{
	for (char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0755) != 0 && errno != EEXIST) {
			tool_fail(path);
			*slash = '/';
			return false;
		}
		*slash = '/';
	}
	return true;
}

static bool write_contents(int file, uint64_t size)
{
	static uint8_t chunk[CHUNK];

	for (uint64_t left = size; left > 0;) {
		size_t part = left < sizeof chunk ? (size_t)left : sizeof chunk;

		if (!take(chunk, part))
			return broken("cut short");
		for (size_t done = 0; done < part;) {
			ssize_t count = write(file, chunk + done, part - done);

			if (count < 0)
				return tool_fail("write");
			done += (size_t)count;
		}
		left -= part;
	}
	return true;
}

static void set_xattr(void *owner, const char *key, const char *value, size_t length)
{
	static const char prefix[] = "SCHILY.xattr.";

	// A file system that has no such attribute does without, as with tar(1).
	if (strncmp(key, prefix, sizeof prefix - 1) == 0)
		lsetxattr(owner, key + sizeof prefix - 1, value, length, 0);
}

static bool note_directory(const char *path, struct timespec mtime)
{
	struct directory *directory = malloc(sizeof *directory + strlen(path) + 1);

	if (directory == NULL)
		return tool_fail(path);
	directory->mtime = mtime;
	strcpy(directory->path, path);
	directory->next = directories;
	directories = directory;
	return true;
}

static bool make_directory(const char *path)
{
	struct stat status;

	return mkdir(path, 0700) == 0 || (errno == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode)) ||
	       tool_fail(path);
}

static bool make_entry(struct entry *entry, char *path)
{
	char *target = entry->linkname;
	int file;
	bool done;

	if (entry->type == '5')
		return make_directory(path);
	if (unlink(path) != 0 && errno != ENOENT)
		return tool_fail(path);
	switch (entry->type) {
	case '0':
		file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (file < 0)
			return tool_fail(path);
		done = write_contents(file, entry->size);
		close(file);
		return done;
	case '1':
		target = clean(target);
		return target != NULL ? link(target, path) == 0 || tool_fail(path) : broken("a link with ..");
	case '2':
		return symlink(target, path) == 0 || tool_fail(path);
	case '3':
		return mknod(path, S_IFCHR | 0600, entry->device) == 0 || tool_fail(path);
	case '4':
		return mknod(path, S_IFBLK | 0600, entry->device) == 0 || tool_fail(path);
	default:
		return mkfifo(path, 0600) == 0 || tool_fail(path);
	}
}

static bool set_attributes(const struct entry *entry, const char *path, struct extension *extension)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, entry->mtime };

	if (entry->type == '1')
		return true;
	if (lchown(path, keeps_owners ? entry->uid : 0, keeps_owners ? entry->gid : 0) != 0)
		return tool_fail(path);
	if (entry->type != '2' && chmod(path, entry->mode) != 0)
		return tool_fail(path);
	if (extension->records != NULL)
		each_record(extension->records, extension->length, set_xattr, (void *)(uintptr_t)path);
	if (entry->type == '5')
		return note_directory(path, entry->mtime);
	utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
	return true;
}

static bool extract_entry(struct entry *entry, struct extension *extension)
{
	uint64_t padded = padding(entry->size);
	char *path = clean(entry->path);

	if (strchr("0123456", entry->type) == NULL)
		return skip(entry->size + padded) || broken("cut short");
	if (path == NULL)
		return broken("a path with ..");
	if (!make_parents(path) || !make_entry(entry, path) || !set_attributes(entry, path, extension))
		return false;
	// What a link or a directory says of a size is not there.
	return entry->type != '0' || skip(padded) || broken("cut short");
}

static bool extract_all(void)
{
	static struct extension extension;
	struct tar_header header;

	while (take(&header, sizeof header) && !is_zero(&header)) {
		static struct entry entry;
		uint64_t size = number(header.size, sizeof header.size);

		if (!has_checksum(&header))
			return broken("a header's checksum is wrong");
		if (header.type == 'x' || header.type == 'L' || header.type == 'K') {
			if (!read_extension(&extension, header.type, size))
				return broken("an extended header is wrong");
			continue;
		}
		if (header.type == 'g') {
			if (!skip(size + padding(size)))
				return broken("cut short");
			continue;
		}
		read_header(&header, &extension, &entry);
		if (!extract_entry(&entry, &extension))
			return false;
		free(extension.records);
		extension = (struct extension){ 0 };
	}
	return true;
}

// extract DIRECTORY [owners]: what comes on stdin; owned by root unless owners are to be kept.
bool tool_extract(char **arguments)
{
	static uint8_t rest[CHUNK];

	if (arguments[0] == NULL)
		return broken("no directory");
	keeps_owners = arguments[1] != NULL;
	umask(0);
	if (chdir(arguments[0]) != 0)
		return tool_fail(arguments[0]);
	if (!extract_all())
		return false;
	for (const struct directory *directory = directories; directory != NULL; directory = directory->next) {
		const struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, directory->mtime };

		utimensat(AT_FDCWD, directory->path, times, 0);
	}
	// Whoever writes the archive gets to write its padding.
	while (read(STDIN_FILENO, rest, sizeof rest) > 0)
		;
	return true;
}
