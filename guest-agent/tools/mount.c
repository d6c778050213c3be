// The tool that mounts in a running container.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/target.h"
#include "tools/tool.h"

static const char hidden_options[] = "size=4k,mode=755";

// Mounts `source`, or an empty directory if that is "-". The names are those of the container's root.
static bool mount_at(const char *source, const char *target, bool readonly, struct failure *failure)
{
	const unsigned long remount = MS_REMOUNT | MS_BIND | MS_RDONLY;
	enum target_kind kind = TARGET_DIRECTORY;
	struct stat status;
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "/");
	if (strcmp(source, "-") == 0)
		return target_mount(root, target, kind, "tmpfs", "tmpfs", MS_RDONLY, hidden_options, failure);
	if (stat(source, &status) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "%s", source);
	if (!S_ISDIR(status.st_mode))
		kind = TARGET_FILE;
	return target_mount(root, target, kind, source, NULL, MS_BIND, NULL, failure) &&
	       (!readonly || target_mount(root, target, kind, NULL, NULL, remount, NULL, failure));
}

// mount SOURCE TARGET [ro]: shows a file or directory at another path too, while the container runs.
// SOURCE `-` hides what is at TARGET.
bool tool_mount(char **arguments)
{
	struct failure failure = { 0 };

	if (arguments[0] == NULL || arguments[1] == NULL)
		return tool_bad_arguments();
	if (mount_at(arguments[0], arguments[1], arguments[2] != NULL, &failure))
		return true;
	dprintf(STDERR_FILENO, "%s\n", failure.message);
	return false;
}
