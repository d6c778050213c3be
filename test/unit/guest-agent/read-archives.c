// The agent's tar reader as a program, to be built with AddressSanitizer and fed by the tests.
//
//     read-archives            cases on stdin: u32 length, bytes of an archive
//                              for each, one line: JSON of the entries, and of the error or null
//     read-archives --file F   reads the archive F itself, in one line
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../../../guest-agent/archive/tar-reader.h"

// As latin1: a character for each byte.
static void print_bytes(const char *bytes, size_t length)
{
	putchar('"');
	for (size_t i = 0; i < length; i++)
		printf("\\u%04x", (unsigned char)bytes[i]);
	putchar('"');
}

static void print_text(const char *text)
{
	print_bytes(text, strlen(text));
}

static void print_xattr(void *owner, const char *name, const char *value, size_t length)
{
	const char **comma = owner;

	printf("%s[", *comma);
	*comma = ",";
	print_text(name);
	printf(",");
	print_bytes(value, length);
	printf("]");
}

static void print_entry(const struct tar_reader *reader)
{
	const struct tar_entry *entry = &reader->entry;
	const char *comma = "";
	bool device = entry->type == '3' || entry->type == '4';

	printf("{\"type\":");
	print_bytes(&entry->type, 1);
	printf(",\"path\":");
	print_text(entry->path);
	printf(",\"linkname\":");
	print_text(entry->linkname);
	printf(",\"size\":%llu,\"uid\":%u,\"gid\":%u,\"mode\":%u,\"mtime\":[%lld,%ld],\"device\":[%u,%u],\"xattrs\":[",
	       (unsigned long long)entry->size, entry->uid, entry->gid, entry->mode, (long long)entry->mtime.tv_sec,
	       entry->mtime.tv_nsec, device ? major(entry->device) : 0, device ? minor(entry->device) : 0);
	tar_extension_each_xattr(&reader->extension, print_xattr, &comma);
	printf("],\"contents\":");
}

// Even sizes of entries are read as extract does, odd ones are left to tar_next to skip.
static bool print_contents(struct tar_reader *reader)
{
	size_t total = 0;
	char *contents = NULL;
	char *chunk = malloc(1000);
	size_t count = 0;
	bool done = true;

	while (reader->entry.size % 2 == 0 && (done = tar_read(reader, chunk, 1000, &count)) && count > 0) {
		char *grown = realloc(contents, total + count);

		if (grown == NULL)
			abort();
		contents = grown;
		memcpy(contents + total, chunk, count);
		total += count;
	}
	print_bytes(contents, total);
	printf("}");
	free(contents);
	free(chunk);
	return done;
}

static void read_archive(int file)
{
	struct tar_reader *reader = calloc(1, sizeof *reader);
	enum tar_event event;
	const char *comma = "";

	reader->file = file;
	printf("{\"entries\":[");
	while ((event = tar_next(reader)) == TAR_ENTRY) {
		printf("%s", comma);
		comma = ",";
		print_entry(reader);
		if (!print_contents(reader)) {
			event = TAR_ERROR;
			break;
		}
	}
	printf("],\"error\":");
	if (event == TAR_ERROR)
		print_text(reader->error);
	else
		printf("null");
	printf("}\n");
	tar_reader_free(reader);
	free(reader);
}

static void read_case(uint32_t length)
{
	char *bytes = malloc(length);
	int file = memfd_create("archive", MFD_CLOEXEC);

	if (file < 0 || (length > 0 && fread(bytes, length, 1, stdin) != 1) ||
	    write(file, bytes, length) != (ssize_t)length || lseek(file, 0, SEEK_SET) != 0)
		abort();
	read_archive(file);
	close(file);
	free(bytes);
}

int main(int argc, char **argv)
{
	uint32_t length;

	if (argc == 3 && strcmp(argv[1], "--file") == 0) {
		read_archive(open(argv[2], O_RDONLY | O_CLOEXEC));
		return 0;
	}
	while (fread(&length, sizeof length, 1, stdin) == 1)
		read_case(length);
	return 0;
}
