#include "archive/tar-reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "archive/tar-number.h"
#include "archive/tar.h"

enum {
	MAX_EXTENSION = 1024 * 1024,
	CHUNK = 64 * 1024,
};

static bool broken(struct tar_reader *reader, const char *why)
{
	reader->error = why;
	return false;
}

// Reads exactly `count` bytes, or fails. The end of the file before the first byte sets `*end` if
// the caller expects it, and is an error otherwise.
static bool take(struct tar_reader *reader, void *bytes, size_t count, bool *end)
{
	for (size_t done = 0; done < count;) {
		ssize_t got = read(reader->file, (uint8_t *)bytes + done, count - done);

		if (got < 0)
			return broken(reader, strerror(errno));
		if (got == 0) {
			if (done > 0 || end == NULL)
				return broken(reader, "cut short");
			*end = true;
			return true;
		}
		done += (size_t)got;
	}
	return true;
}

static bool skip(struct tar_reader *reader, uint64_t count)
{
	static uint8_t chunk[CHUNK];

	while (count > 0) {
		size_t part = count < sizeof chunk ? (size_t)count : sizeof chunk;

		if (!take(reader, chunk, part, NULL))
			return false;
		count -= part;
	}
	return true;
}

static uint64_t padding(uint64_t size)
{
	return (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
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
	uint64_t stored;

	for (size_t i = 0; i < sizeof *header; i++) {
		bool own = i >= offsetof(struct tar_header, checksum) && i < offsetof(struct tar_header, type);

		sum += own ? ' ' : ((const uint8_t *)header)[i];
	}
	return tar_parse_unsigned_field(header->checksum, sizeof header->checksum, UINT32_MAX, &stored) &&
	       sum == stored;
}

static bool read_extension(struct tar_reader *reader, char type, uint64_t size)
{
	char *text;

	if (size > MAX_EXTENSION)
		return broken(reader, "an extended header is too large");
	if (size == 0)
		return true;
	text = malloc((size_t)size);
	if (text == NULL)
		return broken(reader, strerror(errno));
	if (!take(reader, text, (size_t)size, NULL) || !skip(reader, padding(size))) {
		free(text);
		return false;
	}
	return tar_extension_take(&reader->extension, type, text, (size_t)size) ||
	       broken(reader, "an extended header is wrong");
}

// Makes a path relative, in place. Returns false if it has a "..".
static bool clean_path(char *path)
{
	const char *from = path;
	size_t length;

	while (*from == '/' || (from[0] == '.' && (from[1] == '/' || from[1] == '\0')))
		from++;
	for (const char *at = from; at != NULL && *at != '\0';) {
		const char *end = strchr(at, '/');
		size_t part = end != NULL ? (size_t)(end - at) : strlen(at);

		if (part == 2 && at[0] == '.' && at[1] == '.')
			return false;
		at = end != NULL ? end + 1 : NULL;
	}
	length = strlen(from);
	while (length > 0 && from[length - 1] == '/')
		length--;
	memmove(path, from, length);
	path[length] = '\0';
	if (length == 0)
		strcpy(path, ".");
	return true;
}

static bool read_owner(const char *field, size_t size, bool known, uint32_t value, uint32_t *owner)
{
	uint64_t parsed = value;

	if (!known && !tar_parse_unsigned_field(field, size, UINT32_MAX, &parsed))
		return false;
	*owner = (uint32_t)parsed;
	return true;
}

static bool read_mtime(const struct tar_header *header, struct timespec *mtime)
{
	int64_t seconds;

	if (!tar_parse_field(header->mtime, sizeof header->mtime, &seconds))
		return false;
	*mtime = (struct timespec){ .tv_sec = (time_t)seconds };
	return true;
}

static bool is_ustar(const struct tar_header *header)
{
	return memcmp(header->magic, "ustar", sizeof header->magic) == 0;
}

static bool is_gnu(const struct tar_header *header)
{
	return memcmp(header->magic, "ustar ", sizeof header->magic) == 0 &&
	       memcmp(header->version, " ", sizeof header->version) == 0;
}

static bool read_device(const struct tar_header *header, dev_t *device)
{
	uint64_t major;
	uint64_t minor;

	*device = 0;
	// V7 headers end before these fields.
	if (!is_ustar(header) && !is_gnu(header))
		return true;
	if (!tar_parse_unsigned_field(header->major, sizeof header->major, UINT32_MAX, &major) ||
	    !tar_parse_unsigned_field(header->minor, sizeof header->minor, UINT32_MAX, &minor))
		return false;
	*device = makedev((unsigned)major, (unsigned)minor);
	return true;
}

static bool read_numbers(const struct tar_header *header, const struct tar_extension *extension,
			 struct tar_entry *entry)
{
	uint64_t mode;

	if (!tar_parse_unsigned_field(header->mode, sizeof header->mode, INT64_MAX, &mode))
		return false;
	entry->mode = (mode_t)mode & 07777;
	entry->mtime = extension->mtime;
	return read_owner(header->uid, sizeof header->uid, extension->has_uid, extension->uid, &entry->uid) &&
	       read_owner(header->gid, sizeof header->gid, extension->has_gid, extension->gid, &entry->gid) &&
	       (extension->has_mtime || read_mtime(header, &entry->mtime)) &&
	       ((entry->type != '3' && entry->type != '4') || read_device(header, &entry->device));
}

static void read_names(const struct tar_header *header, const struct tar_extension *extension, struct tar_entry *entry)
{
	if (header->prefix[0] != '\0' && is_ustar(header))
		snprintf(entry->path, PATH_MAX, "%.155s/%.100s", header->prefix, header->name);
	else
		snprintf(entry->path, PATH_MAX, "%.100s", header->name);
	snprintf(entry->linkname, PATH_MAX, "%.100s", header->linkname);
	if (extension->has_path)
		strcpy(entry->path, extension->path);
	if (extension->has_linkname)
		strcpy(entry->linkname, extension->linkname);
}

static bool ends_with_slash(const char *path)
{
	size_t length = strlen(path);

	return length > 0 && path[length - 1] == '/';
}

static bool read_entry(struct tar_reader *reader, const struct tar_header *header, uint64_t size)
{
	const struct tar_extension *extension = &reader->extension;
	struct tar_entry *entry = &reader->entry;

	read_names(header, extension, entry);
	entry->type = header->type == '7' ? '0' : header->type;
	// V7 has no type for directories: their names end with a slash.
	if (header->type == '\0')
		entry->type = ends_with_slash(entry->path) ? '5' : '0';
	// Links and directories have no contents, whatever their size field says.
	entry->size = entry->type >= '1' && entry->type <= '6' ? 0 : extension->has_size ? extension->size : size;
	reader->left = entry->size;
	reader->padding = padding(entry->size);
	if (!clean_path(entry->path))
		return broken(reader, "a path with ..");
	if (entry->type == '1' && !clean_path(entry->linkname))
		return broken(reader, "a link with ..");
	return read_numbers(header, extension, entry) || broken(reader, "a header's number is wrong");
}

// Reads the block after a zero block. The end mark is two zero blocks. Some writers omit the second
// one.
static bool read_end_mark(struct tar_reader *reader, bool *end)
{
	struct tar_header second;

	if (!take(reader, &second, sizeof second, end))
		return false;
	if (!*end && !is_zero(&second))
		return broken(reader, "data after half of an end mark");
	*end = true;
	return true;
}

// Reads the next header with a sound checksum. `*end` is set at the end of the archive.
static bool read_header(struct tar_reader *reader, struct tar_header *header, uint64_t *size, bool *end)
{
	*end = false;
	if (!take(reader, header, sizeof *header, end))
		return false;
	if (*end)
		return true;
	if (is_zero(header))
		return read_end_mark(reader, end);
	if (!has_checksum(header))
		return broken(reader, "a header's checksum is wrong");
	return tar_parse_unsigned_field(header->size, sizeof header->size, TAR_MAX_SIZE, size) ||
	       broken(reader, "a header's size is wrong");
}

enum tar_event tar_next(struct tar_reader *reader)
{
	bool extended = false;

	if (!skip(reader, reader->left) || !skip(reader, reader->padding))
		return TAR_ERROR;
	reader->left = 0;
	reader->padding = 0;
	tar_extension_forget(&reader->extension);
	for (;;) {
		struct tar_header header;
		uint64_t size;
		bool end;

		if (!read_header(reader, &header, &size, &end))
			return TAR_ERROR;
		if (end && extended)
			broken(reader, "cut short");
		if (end)
			return extended ? TAR_ERROR : TAR_END;
		if (header.type == 'x' || header.type == 'L' || header.type == 'K') {
			extended = true;
			if (!read_extension(reader, header.type, size))
				return TAR_ERROR;
		} else if (header.type != 'g') {
			return read_entry(reader, &header, size) ? TAR_ENTRY : TAR_ERROR;
		} else if (!skip(reader, size + padding(size))) {
			return TAR_ERROR;
		}
	}
}

bool tar_read(struct tar_reader *reader, void *bytes, size_t size, size_t *count)
{
	*count = reader->left < size ? (size_t)reader->left : size;
	if (!take(reader, bytes, *count, NULL))
		return false;
	reader->left -= *count;
	return true;
}

void tar_reader_free(struct tar_reader *reader)
{
	tar_extension_forget(&reader->extension);
}
