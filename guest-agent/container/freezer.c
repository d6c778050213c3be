// The freezer of cgroup v2 (admin-guide/cgroup-v2.rst, "cgroup.freeze"). The kernel says in
// cgroup.events when every process of the cgroup, and of those in it, has stopped. A frozen process
// can still be killed.
#include "container/freezer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/patience.h"
#include "container/container.h"

static bool set(int cgroup, const char *state)
{
	int file = openat(cgroup, "cgroup.freeze", O_WRONLY | O_CLOEXEC);
	bool written = file >= 0 && write(file, state, 1) == 1;
	int error = errno;

	if (file >= 0)
		close(file);
	errno = error;
	return written;
}

static bool says_frozen(int events)
{
	char text[256];
	ssize_t count = pread(events, text, sizeof text - 1, 0);

	text[count > 0 ? count : 0] = '\0';
	return strstr(text, "frozen 1\n") != NULL;
}

// Waits for the kernel's word. Its file polls as POLLPRI when it has changed since it was read.
// Without it in the milliseconds that are left, errno is ETIMEDOUT.
static bool wait_frozen(int cgroup, uint64_t *left)
{
	int events = openat(cgroup, "cgroup.events", O_RDONLY | O_CLOEXEC);
	bool frozen;

	if (events < 0)
		return false;
	while (!(frozen = says_frozen(events)) && *left > 0) {
		struct pollfd change = { .fd = events, .events = POLLPRI };

		patience_poll(&change, left);
	}
	close(events);
	errno = ETIMEDOUT;
	return frozen;
}

bool freezer_freeze(int cgroup, uint64_t timeout)
{
	int error;

	if (set(cgroup, "1") && wait_frozen(cgroup, &timeout))
		return true;
	error = errno;
	freezer_thaw(cgroup);
	errno = error;
	return false;
}

bool freezer_thaw(int cgroup)
{
	return set(cgroup, "0");
}

bool freezer_freeze_all(uint64_t timeout, struct failure *failure)
{
	struct failure ignored;
	bool frozen = true;

	for (struct container *container = NULL; frozen && (container = container_next(container)) != NULL;) {
		if (!set(container->cgroup, "1"))
			frozen = fail(failure, ERROR_SETUP_FAILED, errno, "freeze container %u", container->id);
	}
	for (struct container *container = NULL; frozen && (container = container_next(container)) != NULL;)
		frozen = wait_frozen(container->cgroup, &timeout) ||
			 fail(failure, ERROR_SETUP_FAILED, errno == ETIMEDOUT ? 0 : errno,
			      "a process of container %u did not stop in time", container->id);
	if (!frozen)
		freezer_thaw_all(&ignored);
	return frozen;
}

bool freezer_thaw_all(struct failure *failure)
{
	bool thawed = true;

	for (struct container *container = NULL; (container = container_next(container)) != NULL;) {
		if (!freezer_thaw(container->cgroup))
			thawed = fail(failure, ERROR_SETUP_FAILED, errno, "thaw container %u", container->id);
	}
	return thawed;
}
