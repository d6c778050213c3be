// No process of the container runs yet, so nothing changes the new file system meanwhile.
#include "container/secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "container/target.h"

#define PLACE "/run/secrets"

static const unsigned long safe = MS_NOSUID | MS_NODEV | MS_NOEXEC;

static bool is_name(const char *name)
{
	return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

// The failure has the name, never the contents.
static bool write_secret(int directory, const struct secret_spec *secret, struct failure *failure)
{
	const char *rest = secret->contents;
	size_t left = strlen(rest);
	int file;

	if (!is_name(secret->name))
		return fail(failure, ERROR_BAD_REQUEST, 0, "the name of a secret");
	file = openat(directory, secret->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
	if (file < 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, PLACE "/%s", secret->name);
	while (left > 0) {
		ssize_t count = write(file, rest, left);

		if (count < 0) {
			fail(failure, ERROR_SETUP_FAILED, errno, PLACE "/%s", secret->name);
			close(file);
			return false;
		}
		rest += count;
		left -= (size_t)count;
	}
	close(file);
	return true;
}

bool secrets_mount(int root, const struct container_request *container, struct failure *failure)
{
	bool written = true;
	int directory;

	if (container->secrets.count == 0)
		return true;
	if (!target_mount(root, PLACE, TARGET_DIRECTORY, "tmpfs", "tmpfs", safe, "mode=755", failure))
		return false;
	directory = target_open(root, PLACE, TARGET_DIRECTORY, failure);
	if (directory < 0)
		return false;
	for (size_t i = 0; written && i < container->secrets.count; i++)
		written = write_secret(directory, &container->secrets.items[i], failure);
	close(directory);
	return written && target_mount(root, PLACE, TARGET_DIRECTORY, NULL, NULL, MS_REMOUNT | MS_RDONLY | safe,
				       "mode=755", failure);
}
