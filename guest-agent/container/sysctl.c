// Kernel parameters, written through the container's /proc.
#include "container/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool set(const struct sysctl_spec *sysctl, struct failure *failure)
{
	char path[PATH_MAX];
	ssize_t written = -1;
	int error;
	int file;

	snprintf(path, sizeof path, "/proc/sys/%s", sysctl->path);
	file = open(path, O_WRONLY | O_CLOEXEC);
	if (file >= 0)
		written = write(file, sysctl->value, strlen(sysctl->value));
	error = errno;
	if (file >= 0)
		close(file);
	return written >= 0 || fail(failure, ERROR_SETUP_FAILED, error, "sysctl %.200s", sysctl->path);
}

bool sysctl_apply(const struct container_request *container, struct failure *failure)
{
	for (size_t i = 0; i < container->sysctls.count; i++) {
		if (!set(&container->sysctls.items[i], failure))
			return false;
	}
	return true;
}
