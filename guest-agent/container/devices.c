// The container's device files: the "Default Devices" of the OCI runtime specification, or all of
// the machine's.
#include "container/devices.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "container/target.h"

enum { MAX_DEPTH = 4 };

// In /dev.
static const struct {
	const char *name;
	unsigned major;
	unsigned minor;
} devices[] = {
	{ "null", 1, 3 }, { "zero", 1, 5 }, { "full", 1, 7 }, { "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
};

// In /dev.
static const struct {
	const char *name;
	const char *text;
} links[] = {
	{ "ptmx", "pts/ptmx" },          { "fd", "/proc/self/fd" },       { "stdin", "/proc/self/fd/0" },
	{ "stdout", "/proc/self/fd/1" }, { "stderr", "/proc/self/fd/2" }, { "core", "/proc/kcore" },
};

static bool is_special(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool copy_devices(const char *from, int to, int depth, struct failure *failure);

// Entries that exist stay: the container's own pts and shm. Its console is its terminal, if it has
// one.
static bool copy_entry(int directory, const char *path, const char *name, int to, int depth, struct failure *failure)
{
	struct stat status;
	bool copied;
	int inner;

	if ((depth == 0 && strcmp(name, "console") == 0) || fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
		return true;
	if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
		return mknodat(to, name, status.st_mode, status.st_rdev) == 0 || errno == EEXIST ||
		       fail(failure, ERROR_SETUP_FAILED, errno, "mknod %s", path);
	}
	if (!S_ISDIR(status.st_mode) || depth == MAX_DEPTH || mkdirat(to, name, 0755) != 0)
		return true;
	inner = openat(to, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (inner < 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "%s", path);
	copied = copy_devices(path, inner, depth + 1, failure);
	close(inner);
	return copied;
}

static bool copy_devices(const char *from, int to, int depth, struct failure *failure)
{
	DIR *directory = opendir(from);
	const struct dirent *entry;
	bool copied = true;

	if (directory == NULL)
		return fail(failure, ERROR_SETUP_FAILED, errno, "%s", from);
	while (copied && (entry = readdir(directory)) != NULL) {
		char path[512];

		if (is_special(entry->d_name) ||
		    (size_t)snprintf(path, sizeof path, "%s/%s", from, entry->d_name) >= sizeof path)
			continue;
		copied = copy_entry(dirfd(directory), path, entry->d_name, to, depth, failure);
	}
	closedir(directory);
	return copied;
}

bool devices_make(int root, bool all, struct failure *failure)
{
	int dev = target_open(root, "/dev", TARGET_DIRECTORY, failure);
	bool made = true;

	if (dev < 0)
		return false;
	for (size_t i = 0; made && i < sizeof devices / sizeof *devices; i++) {
		if (mknodat(dev, devices[i].name, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)) != 0)
			made = fail(failure, ERROR_SETUP_FAILED, errno, "mknod /dev/%s", devices[i].name);
	}
	for (size_t i = 0; made && i < sizeof links / sizeof *links; i++) {
		if (symlinkat(links[i].text, dev, links[i].name) != 0)
			made = fail(failure, ERROR_SETUP_FAILED, errno, "link /dev/%s", links[i].name);
	}
	if (made && all)
		made = copy_devices("/dev", dev, 0, failure);
	close(dev);
	return made;
}
