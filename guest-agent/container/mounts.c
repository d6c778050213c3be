// A mount inside another must come after it. So shorter paths are mounted first, whatever the order
// of the request.
#include "container/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "boot/machine.h"
#include "container/target.h"

static bool mount_tmpfs(int root, const struct tmpfs_spec *spec, struct failure *failure)
{
	unsigned long flags = (spec->readonly ? MS_RDONLY : 0) | (spec->exec ? 0 : MS_NOEXEC) |
			      (spec->suid ? 0 : MS_NOSUID) | (spec->dev ? 0 : MS_NODEV);
	char options[128];

	snprintf(options, sizeof options, "mode=%o,uid=%u,gid=%u", spec->mode, spec->uid, spec->gid);
	if (spec->size > 0) {
		size_t used = strlen(options);
		snprintf(options + used, sizeof options - used, ",size=%llu", (unsigned long long)spec->size);
	}
	return target_mount(root, spec->path, TARGET_DIRECTORY, "tmpfs", "tmpfs", flags, options, failure);
}

// MS_NODEV: device nodes in a share would be the machine's own devices.
static bool mount_share(int root, const struct share_spec *spec, struct failure *failure)
{
	unsigned long flags = MS_REMOUNT | MS_BIND | MS_NODEV | (spec->readonly ? MS_RDONLY : 0);
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
