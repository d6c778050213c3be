// Makes the files of an archive. The process runs inside the container's root, so what its symbolic
// links lead to is the container's own.
#include "archive/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "archive/tar-reader.h"
#include "base/files.h"

enum { CHUNK = 64 * 1024 };

// A directory whose time is set when everything is in it.
struct directory {
	struct directory *next;
	struct timespec mtime;
	char path[];
};

static struct tar_reader reader = { .file = STDIN_FILENO };
static struct directory *directories;
static bool keeps_owners;

static bool broken(void)
{
	dprintf(STDERR_FILENO, "archive: %s\n", reader.error);
	return false;
}

static bool make_parents(char *path)
{
	for (char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0755) != 0 && errno != EEXIST)
			return print_error(path);
		*slash = '/';
	}
	return true;
}

static bool write_contents(int file)
{
	static uint8_t chunk[CHUNK];
	size_t length;

	for (;;) {
		if (!tar_read(&reader, chunk, sizeof chunk, &length))
			return broken();
		if (length == 0)
			return true;
		for (size_t done = 0; done < length;) {
			ssize_t count = write(file, chunk + done, length - done);

			if (count < 0)
				return print_error("write");
			done += (size_t)count;
		}
	}
}

static void set_xattr(void *owner, const char *name, const char *value, size_t length)
{
	// A file system that has no such attribute does without, as with tar(1).
	lsetxattr(owner, name, value, length, 0);
}

static bool note_directory(const char *path, struct timespec mtime)
{
	struct directory *directory = malloc(sizeof *directory + strlen(path) + 1);

	if (directory == NULL)
		return print_error(path);
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
	       print_error(path);
}

static bool make_file(const char *path)
{
	int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	bool done;

	if (file < 0)
		return print_error(path);
	done = write_contents(file);
	close(file);
	return done;
}

static bool make_entry(const struct tar_entry *entry)
{
	const char *path = entry->path;

	if (entry->type == '5')
		return make_directory(path);
	if (unlink(path) != 0 && errno != ENOENT)
		return print_error(path);
	switch (entry->type) {
	case '0':
		return make_file(path);
	case '1':
		return link(entry->linkname, path) == 0 || print_error(path);
	case '2':
		return symlink(entry->linkname, path) == 0 || print_error(path);
	case '3':
		return mknod(path, S_IFCHR | 0600, entry->device) == 0 || print_error(path);
	case '4':
		return mknod(path, S_IFBLK | 0600, entry->device) == 0 || print_error(path);
	default:
		return mkfifo(path, 0600) == 0 || print_error(path);
	}
}

static bool set_attributes(struct tar_entry *entry)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, entry->mtime };
	char *path = entry->path;

	if (entry->type == '1')
		return true;
	if (lchown(path, keeps_owners ? entry->uid : 0, keeps_owners ? entry->gid : 0) != 0)
		return print_error(path);
	if (entry->type != '2' && chmod(path, entry->mode) != 0)
		return print_error(path);
	tar_extension_each_xattr(&reader.extension, set_xattr, path);
	if (entry->type == '5')
		return note_directory(path, entry->mtime);
	utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
	return true;
}

static bool extract_all(void)
{
	struct tar_entry *entry = &reader.entry;
	enum tar_event event;

	while ((event = tar_next(&reader)) == TAR_ENTRY) {
		if (strchr("0123456", entry->type) != NULL &&
		    (!make_parents(entry->path) || !make_entry(entry) || !set_attributes(entry)))
			return false;
	}
	return event == TAR_END || broken();
}

// Reads to the end, so that the writer of the archive can write its padding.
static bool drain(void)
{
	static uint8_t rest[CHUNK];
	ssize_t count;

	while ((count = read(STDIN_FILENO, rest, sizeof rest)) > 0)
		;
	return count == 0 || print_error("archive");
}

bool extract_archive(const char *path, bool with_owners)
{
	keeps_owners = with_owners;
	umask(0);
	if (chdir(path) != 0)
		return print_error(path);
	if (!extract_all())
		return false;
	for (const struct directory *directory = directories; directory != NULL; directory = directory->next) {
		const struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, directory->mtime };

		utimensat(AT_FDCWD, directory->path, times, 0);
	}
	return drain();
}
