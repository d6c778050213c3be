// The tool that changes the limits of a running container.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"

#include "tools/tool.h"

// The link in the container's directory leads to its cgroup.
static const char *const files[] = { "cgroup/memory.max", "cgroup/pids.max", "cgroup/cpu.max" };

static const char *path_of(const char *name)
{
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		if (strcmp(strchr(files[i], '/') + 1, name) == 0)
			return files[i];
	}
	return NULL;
}

static bool write_limit(const char *path, const char *value)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);
	bool written = file >= 0 && write(file, value, strlen(value)) >= 0;
	int error = errno;

	if (file >= 0)
		close(file);
	errno = error;
	return written;
}

// limit: takes names of files of the container's cgroup and what is written to them, in turn.
bool tool_limit(char **arguments)
{
	for (; arguments[0] != NULL; arguments += 2) {
		const char *path = path_of(arguments[0]);

		if (path == NULL || arguments[1] == NULL)
			return tool_bad_arguments();
		if (!write_limit(path, arguments[1]))
			return print_error(arguments[0]);
	}
	return true;
}
