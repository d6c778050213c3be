// A mount inside another must come after it. So shorter paths are mounted first, whatever the order
// of the request.
#include "container/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot/machine.h"
#include "container/copy-up.h"
#include "container/target.h"

enum { PUBLIC = 01777 };

// `below` is the directory that the mount hides; -1: there was none.
static bool mount_tmpfs_over(int root, int below, const struct tmpfs_spec *spec, struct failure *failure)
{
	unsigned long flags = (spec->exec ? 0 : MS_NOEXEC) | (spec->suid ? 0 : MS_NOSUID) | (spec->dev ? 0 : MS_NODEV);
	unsigned mode = spec->mode;
	char options[128];
	struct stat status;
	int made;
	bool done;

	if (mode > 07777)
		mode = below >= 0 && fstat(below, &status) == 0 ? status.st_mode & 07777 : PUBLIC;
	snprintf(options, sizeof options, "mode=%o,uid=%u,gid=%u", mode, spec->uid, spec->gid);
	if (spec->size > 0) {
		size_t used = strlen(options);
		snprintf(options + used, sizeof options - used, ",size=%llu", (unsigned long long)spec->size);
	}
	if (!target_mount(root, spec->path, TARGET_DIRECTORY, "tmpfs", "tmpfs", flags, options, failure))
		return false;
	if (spec->copy_up && below >= 0) {
		made = target_open(root, spec->path, TARGET_DIRECTORY, failure);
		done = made >= 0 && copy_up(below, made, spec->path, failure);
		if (made >= 0)
			close(made);
		if (!done)
			return false;
	}
	return !spec->readonly || target_mount(root, spec->path, TARGET_DIRECTORY, NULL, NULL,
					       MS_REMOUNT | MS_RDONLY | flags, NULL, failure);
}

static bool mount_tmpfs(int root, const struct tmpfs_spec *spec, struct failure *failure)
{
	int below = target_find(root, spec->path);
	bool mounted = mount_tmpfs_over(root, below, spec, failure);

	if (below >= 0)
		close(below);
	return mounted;
}

// MS_NODEV: device nodes in a share would be the machine's own devices.
static bool mount_share(int root, const struct share_spec *spec, struct failure *failure)
{
	unsigned long flags = MS_REMOUNT | MS_BIND | MS_NODEV | (spec->readonly ? MS_RDONLY : 0) |
			      (spec->noexec ? MS_NOEXEC : 0) | (spec->nosuid ? MS_NOSUID : 0);
	char source[sizeof MACHINE_SHARES + 16];
	struct stat status;
	enum target_kind kind;

	snprintf(source, sizeof source, MACHINE_SHARES "/%u", spec->index);
	if (stat(source, &status) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "shared folder for %s", spec->path);
	kind = S_ISDIR(status.st_mode) ? TARGET_DIRECTORY : TARGET_FILE;
	return target_mount(root, spec->path, kind, source, NULL, MS_BIND, NULL, failure) &&
	       target_mount(root, spec->path, kind, NULL, NULL, flags, NULL, failure);
}

static size_t depth(const char *path)
{
	size_t names = 0;

	for (path += strspn(path, "/"); *path != '\0'; path += strspn(path, "/")) {
		names++;
		path += strcspn(path, "/");
	}
	return names;
}

bool mounts_make(int root, const struct container_request *container, struct failure *failure)
{
	size_t left = container->tmpfs.count + container->shares.count;

	for (size_t level = 0; left > 0; level++) {
		for (size_t i = 0; i < container->tmpfs.count; i++) {
			if (depth(container->tmpfs.items[i].path) != level)
				continue;
			if (!mount_tmpfs(root, &container->tmpfs.items[i], failure))
				return false;
			left--;
		}
		for (size_t i = 0; i < container->shares.count; i++) {
			if (depth(container->shares.items[i].path) != level)
				continue;
			if (!mount_share(root, &container->shares.items[i], failure))
				return false;
			left--;
		}
	}
	return true;
}
