// Tools for files: archive, layer, stat, follow, list, read, write, watch, changes.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/archive.h"
#include "archive/extract.h"
#include "base/files.h"
#include "container/disk.h"
#include "tools/tool.h"

enum {
	CHUNK = 64 * 1024,
	// Linux's own limit.
	MAX_LINKS = 40,
};

// archive PATH NAME [follow]: archives PATH and everything below it, as NAME. A symbolic link at
// PATH is archived itself, unless `follow` is given. /proc and its like below PATH are left empty.
bool tool_archive(char **arguments)
{
	char *resolved;

	if (arguments[0] == NULL || arguments[1] == NULL)
		return tool_bad_arguments();
	resolved = arguments[2] != NULL ? realpath(arguments[0], NULL) : arguments[0];
	if (resolved == NULL || faccessat(AT_FDCWD, resolved, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
		return print_error(arguments[0]);
	return archive_add(AT_FDCWD, resolved, arguments[1], ARCHIVE_FILES) && archive_end();
}

// extract DIRECTORY [owners]: extracts the archive on stdin. Root owns the files, unless `owners`
// is given.
bool tool_extract(char **arguments)
{
	return arguments[0] == NULL ? tool_bad_arguments() : extract_archive(arguments[0], arguments[1] != NULL);
}

// layer: the container's writable layer, as a layer of an image.
bool tool_layer(char **arguments)
{
	(void)arguments;
	return archive_add(AT_FDCWD, DISK_UPPER, "", ARCHIVE_LAYER) && archive_end();
}

// Type, mode, owner, group, size, time and name, ended by a NUL.
static void print_file(const struct stat *status, char type, const char *name)
{
	printf("%c %o %u %u %lld %lld.%09ld %s", type, (unsigned)status->st_mode & 07777, status->st_uid,
	       status->st_gid, (long long)status->st_size, (long long)status->st_mtim.tv_sec, status->st_mtim.tv_nsec,
	       name);
	putchar('\0');
}

static char type_of(const struct stat *status)
{
	switch (status->st_mode & S_IFMT) {
	case S_IFREG:
		return 'f';
	case S_IFDIR:
		return 'd';
	case S_IFLNK:
		return 'l';
	case S_IFCHR:
		return 'c';
	case S_IFBLK:
		return 'b';
	case S_IFIFO:
		return 'p';
	default:
		return 's';
	}
}

// stat PATH: describes PATH, and then, if it is a symbolic link, the file that it leads to.
bool tool_stat(char **arguments)
{
	struct stat status;

	if (arguments[0] == NULL)
		return tool_bad_arguments();
	if (lstat(arguments[0], &status) != 0)
		return print_error(arguments[0]);
	print_file(&status, type_of(&status), arguments[0]);
	if (S_ISLNK(status.st_mode) && stat(arguments[0], &status) == 0)
		print_file(&status, type_of(&status), arguments[0]);
	return fflush(stdout) == 0 || print_error("write");
}

// follow PATH: prints where the symbolic link PATH leads to, or PATH if it is none. The end need
// not exist. The container may change the links meanwhile: the answer is a path inside it all the
// same.
bool tool_follow(char **arguments)
{
	char path[PATH_MAX];
	char text[PATH_MAX];
	ssize_t length;
	int links = 0;

	if (arguments[0] == NULL)
		return tool_bad_arguments();
	if (snprintf(path, sizeof path, "%s", arguments[0]) >= (int)sizeof path) {
		errno = ENAMETOOLONG;
		return print_error(arguments[0]);
	}
	while ((length = readlink(path, text, sizeof text)) >= 0) {
		char *slash = strrchr(path, '/');
		// An absolute link replaces the whole path, another one its last name.
		size_t kept = text[0] == '/' || slash == NULL ? 0 : (size_t)(slash + 1 - path);

		errno = ++links > MAX_LINKS ? ELOOP : kept + (size_t)length >= sizeof path ? ENAMETOOLONG : 0;
		if (errno != 0)
			return print_error(arguments[0]);
		memcpy(path + kept, text, (size_t)length);
		path[kept + (size_t)length] = '\0';
	}
	if (errno != EINVAL && errno != ENOENT)
		return print_error(path);
	printf("%s%c", path, '\0');
	return fflush(stdout) == 0 || print_error("write");
}

// list DIRECTORY
bool tool_list(char **arguments)
{
	DIR *entries = arguments[0] != NULL ? opendir(arguments[0]) : NULL;

	if (entries == NULL)
		return arguments[0] == NULL ? tool_bad_arguments() : print_error(arguments[0]);
	for (struct dirent *entry; (entry = next_entry(entries)) != NULL;) {
		struct stat status;

		if (fstatat(dirfd(entries), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0)
			print_file(&status, type_of(&status), entry->d_name);
	}
	if (errno != 0)
		return print_error(arguments[0]);
	closedir(entries);
	return fflush(stdout) == 0 || print_error("write");
}

static bool copy(int from, int to, const char *name)
{
	static char chunk[CHUNK];
	ssize_t count;

	while ((count = read(from, chunk, sizeof chunk)) > 0) {
		for (ssize_t done = 0; done < count;) {
			ssize_t written = write(to, chunk + done, (size_t)(count - done));

			if (written < 0)
				return print_error(name);
			done += written;
		}
	}
	return count == 0 || print_error(name);
}

// read PATH
bool tool_read(char **arguments)
{
	int file = arguments[0] != NULL ? open(arguments[0], O_RDONLY | O_CLOEXEC) : -1;

	if (file < 0)
		return arguments[0] == NULL ? tool_bad_arguments() : print_error(arguments[0]);
	return copy(file, STDOUT_FILENO, arguments[0]);
}

static bool parse_mode(const char *text, mode_t *mode)
{
	char *end;
	unsigned long value = strtoul(text, &end, 8);

	*mode = (mode_t)value;
	return *text >= '0' && *text <= '7' && *end == '\0' && value <= 07777;
}

// write PATH MODE: copies stdin into the file. MODE, octal, is the mode of a new file.
bool tool_write(char **arguments)
{
	mode_t mode;
	int file;

	if (arguments[0] == NULL || arguments[1] == NULL || !parse_mode(arguments[1], &mode))
		return tool_bad_arguments();
	umask(0);
	file = open(arguments[0], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	if (file < 0)
		return print_error(arguments[0]);
	return copy(STDIN_FILENO, file, arguments[0]);
}

static const char *event_name(uint32_t mask)
{
	if ((mask & (IN_CREATE | IN_MOVED_TO)) != 0)
		return "create";
	if ((mask & (IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF)) != 0)
		return "delete";
	return "change";
}

// watch PATH: prints `create`, `change` or `delete` and a name for each event of PATH, or of the
// entries of a directory.
bool tool_watch(char **arguments)
{
	_Alignas(struct inotify_event) static char events[CHUNK];
	const uint32_t mask = IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM |
			      IN_DELETE_SELF | IN_MOVE_SELF;
	int watch = inotify_init1(IN_CLOEXEC);

	if (arguments[0] == NULL)
		return tool_bad_arguments();
	if (watch < 0 || inotify_add_watch(watch, arguments[0], mask) < 0)
		return print_error(arguments[0]);
	dprintf(STDOUT_FILENO, "ready %s%c", "", '\0');
	for (;;) {
		ssize_t length = read(watch, events, sizeof events);

		if (length <= 0)
			return print_error(arguments[0]);
		for (const char *at = events; at < events + length;) {
			const struct inotify_event *event = (const struct inotify_event *)(const void *)at;

			if ((event->mask & IN_IGNORED) != 0)
				return true;
			if (dprintf(STDOUT_FILENO, "%s %s%c", event_name(event->mask),
				    event->len > 0 ? event->name : "", '\0') < 0)
				return true;
			at += sizeof *event + event->len;
		}
	}
}

// Returns true for a file that the agent made as a mount point, because the image has none.
static bool is_mount_target(const char *path, const struct stat *status)
{
	static const char *const targets[] = { "/etc/hostname", "/etc/hosts", "/etc/resolv.conf" };

	for (size_t i = 0; S_ISREG(status->st_mode) && status->st_size == 0 && i < sizeof targets / sizeof *targets;
	     i++) {
		if (strcmp(path, targets[i]) == 0)
			return true;
	}
	return false;
}

// Returns true for a directory that may be in the upper layer only because of its entries.
static bool is_copy(const struct stat *status, const struct stat *before)
{
	return S_ISDIR(status->st_mode) && status->st_mode == before->st_mode && status->st_uid == before->st_uid &&
	       status->st_gid == before->st_gid;
}

static bool print_changes(int upper, int lower, const char *path)
{
	DIR *entries = fdopendir(upper);
	bool done = entries != NULL;

	while (done) {
		struct dirent *entry = next_entry(entries);
		struct stat status;
		struct stat before;
		bool existed;
		const char *name;
		char *child;

		if (entry == NULL) {
			done = errno == 0;
			break;
		}
		name = entry->d_name;
		if (fstatat(dirfd(entries), name, &status, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		existed = lower >= 0 && fstatat(lower, name, &before, AT_SYMLINK_NOFOLLOW) == 0;
		if (asprintf(&child, "%s/%s", path, name) < 0) {
			done = print_error("memory");
			break;
		}
		if (S_ISCHR(status.st_mode) && status.st_rdev == 0)
			printf("D %s%c", child, '\0');
		else if (existed || !is_mount_target(child, &status))
			printf("%c %s%c", !existed ? 'A' : is_copy(&status, &before) ? 'c' : 'C', child, '\0');
		if (S_ISDIR(status.st_mode)) {
			int next = openat(dirfd(entries), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			int below = existed ? openat(lower, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;

			if (next >= 0)
				done = print_changes(next, below, child);
			if (below >= 0)
				close(below);
		}
		free(child);
	}
	if (entries != NULL)
		closedir(entries);
	return done;
}

// changes: prints each path that the container added (A), changed (C) or deleted (D), ended by a
// NUL. `c` is a directory of which at most the entries changed.
bool tool_changes(char **arguments)
{
	int upper = open(DISK_UPPER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int lower = open(DISK_IMAGE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)arguments;
	if (upper < 0 || lower < 0)
		return print_error("layer");
	return (print_changes(upper, lower, "") && fflush(stdout) == 0) || print_error("changes");
}
