// The container's device files: the "Default Devices" of the OCI runtime specification, those of
// the request, or all of the machine's.
#include "container/devices.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/linux.h"
#include "boot/boot.h"
#include "container/target.h"

enum {
	MAX_DEPTH = 4,
	LOOPS = 8, // of a privileged container
};

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

// Devices of the machine that udev opens to every user.
static const char *const open_to_all[] = { "/dev/fuse", "/dev/net/tun" };

static mode_t mode_of(const char *path, mode_t mode)
{
	for (size_t i = 0; i < sizeof open_to_all / sizeof *open_to_all; i++) {
		if (strcmp(path, open_to_all[i]) == 0)
			return (mode & S_IFMT) | 0666;
	}
	return mode;
}

// Loop devices exist once they are asked for.
static void add_loop(unsigned number)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	if (control < 0)
		return;
	(void)!ioctl(control, LOOP_CTL_ADD, (unsigned long)number);
	close(control);
}

bool devices_find(const char *path, struct stat *status, struct failure *failure)
{
	unsigned loop;
	int end = 0;

	if (sscanf(path, "/dev/loop%5u%n", &loop, &end) == 1 && path[end] == '\0')
		add_loop(loop);
	if (lstat(path, status) == 0 && (S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode)))
		return true;
	return fail(failure, ERROR_SETUP_FAILED, 0,
		    "no device %.200s in the guest's kernel; devices of the host cannot be passed on", path);
}

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
		return mknodat(to, name, mode_of(path, status.st_mode), status.st_rdev) == 0 || errno == EEXIST ||
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

// The file may exist, if it is of this device.
static bool make_device(int root, const struct device_spec *device, struct failure *failure)
{
	const char *name = strrchr(device->target, '/') + 1;
	char folder[PATH_MAX];
	struct stat status;
	struct stat found;
	int parent;
	bool made;

	if (!devices_find(device->path, &status, failure))
		return false;
	snprintf(folder, sizeof folder, "%.*s", (int)(name - device->target), device->target);
	parent = target_open(root, folder, TARGET_DIRECTORY, failure);
	if (parent < 0)
		return false;
	made = mknodat(parent, name, mode_of(device->path, status.st_mode), status.st_rdev) == 0 ||
	       (errno == EEXIST && fstatat(parent, name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
		(found.st_mode & S_IFMT) == (status.st_mode & S_IFMT) && found.st_rdev == status.st_rdev) ||
	       fail(failure, ERROR_SETUP_FAILED, errno, "mknod %.200s", device->target);
	close(parent);
	return made;
}

static bool make_defaults(int dev, struct failure *failure)
{
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		if (mknodat(dev, devices[i].name, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)) != 0)
			return fail(failure, ERROR_SETUP_FAILED, errno, "mknod /dev/%s", devices[i].name);
	}
	for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
		if (symlinkat(links[i].text, dev, links[i].name) != 0)
			return fail(failure, ERROR_SETUP_FAILED, errno, "link /dev/%s", links[i].name);
	}
	return true;
}

static bool make_all(int dev, struct failure *failure)
{
	for (unsigned i = 0; boot_is_machine() && i < LOOPS; i++)
		add_loop(i);
	return copy_devices("/dev", dev, 0, failure);
}

bool devices_make(int root, const struct container_request *container, struct failure *failure)
{
	int dev = target_open(root, "/dev", TARGET_DIRECTORY, failure);
	bool made;

	if (dev < 0)
		return false;
	made = make_defaults(dev, failure) && (!container->privileged || make_all(dev, failure));
	close(dev);
	for (size_t i = 0; made && i < container->devices.count; i++)
		made = make_device(root, &container->devices.items[i], failure);
	return made;
}
