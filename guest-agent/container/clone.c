// The host name and the machine-id are inside of the container: a child of the agent enters its
// namespaces for them. What it finds there is the container's, so it has a deadline.
#include "container/clone.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/linux.h"
#include "base/patience.h"
#include "container/identity.h"
#include "container/rootfs.h"

enum {
	MACHINE_ID_LENGTH = 32,
	CHANGE_TIMEOUT = 10000, // milliseconds in which the machine runs
};

static bool enter_directory(const struct container *container, struct failure *failure)
{
	return chdir(container->directory) == 0 || fail(failure, ERROR_SETUP_FAILED, errno, "%s", container->directory);
}

bool clone_write_generation(struct failure *failure)
{
	bool written = true;

	for (struct container *container = NULL; written && (container = container_next(container)) != NULL;)
		written = enter_directory(container, failure) && identity_write_generation(failure);
	(void)!chdir("/");
	return written;
}

// Returns a mount of a file in the working directory that can be moved to another mount namespace;
// -1 with a failure.
static int open_tree(const char *name, struct failure *failure)
{
	int tree = (int)syscall(SYS_open_tree, AT_FDCWD, name, OPEN_TREE_CLONE | O_CLOEXEC);

	if (tree < 0)
		fail(failure, ERROR_SETUP_FAILED, errno, "open the mount of %s", name);
	return tree;
}

// Mounts the tree over `path` in this mount namespace. A container without such a file has no use
// for it.
static bool cover(int tree, const char *path, struct failure *failure)
{
	const unsigned long readonly = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;

	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) != 0)
		return errno == ENOENT || errno == ENOTDIR ||
		       fail(failure, ERROR_SETUP_FAILED, errno, "cover %s", path);
	return mount(NULL, path, NULL, readonly, NULL) == 0 ||
	       fail(failure, ERROR_SETUP_FAILED, errno, "protect %s", path);
}

// Returns true if the file holds an id. An empty one, and systemd's `uninitialized`, get an id of
// their own.
static bool holds_machine_id(int file)
{
	char text[MACHINE_ID_LENGTH + 1] = "";
	ssize_t count = pread(file, text, sizeof text, 0);

	return count >= MACHINE_ID_LENGTH && strspn(text, "0123456789abcdef") == MACHINE_ID_LENGTH &&
	       (count == MACHINE_ID_LENGTH || text[MACHINE_ID_LENGTH] == '\n');
}

// A folder that the host shares is not the machine's.
static bool is_shared(int file)
{
	struct statfs status;

	return fstatfs(file, &status) == 0 && (unsigned long)status.f_type == FUSE_SUPER_MAGIC;
}

// Gives the container's file another id, or covers it if it cannot be written.
static bool change_machine_id(const char *path, int tree, const char *id, struct failure *failure)
{
	int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int writable;
	struct stat status;
	bool changed = true;

	if (file < 0)
		return true;
	if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) && holds_machine_id(file) && !is_shared(file)) {
		writable = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		if (writable < 0)
			changed = cover(tree, path, failure);
		else if (pwrite(writable, id, MACHINE_ID_LENGTH, 0) != MACHINE_ID_LENGTH)
			changed = fail(failure, ERROR_SETUP_FAILED, errno, "%s", path);
		if (writable >= 0)
			close(writable);
	}
	close(file);
	return changed;
}

// The child's part.
static bool change_inside(const struct container *container, const struct identity_spec *identity, bool has_boot_id,
			  struct failure *failure)
{
	int boot_id = -1;
	int machine_id = -1;
	int other_id = -1;

	if (!has_boot_id && (boot_id = open_tree(IDENTITY_BOOT_ID, failure)) < 0)
		return false;
	if ((machine_id = open_tree(IDENTITY_MACHINE_ID, failure)) < 0 ||
	    (other_id = open_tree(IDENTITY_MACHINE_ID, failure)) < 0)
		return false;
	if (setns(container->pidfd, CLONE_NEWNS | CLONE_NEWUTS) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "enter the container");
	if (sethostname(identity->hostname, strlen(identity->hostname)) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "set host name");
	return (boot_id < 0 || cover(boot_id, KERNEL_BOOT_ID, failure)) &&
	       change_machine_id("/etc/machine-id", machine_id, identity->machine_id, failure) &&
	       change_machine_id("/var/lib/dbus/machine-id", other_id, identity->machine_id, failure);
}

// Waits for the child's report, which is nothing if it succeeded.
static bool wait_for(int reports, const struct container *container, struct failure *failure)
{
	struct pollfd report = { .fd = reports, .events = POLLIN };
	uint64_t left = CHANGE_TIMEOUT;
	int ready;

	do {
		ready = patience_poll(&report, &left);
	} while (ready == 0 && left > 0);
	if (ready != 1)
		return fail(failure, ERROR_SETUP_FAILED, 0, "container %u does not let its identity be changed in time",
			    container->id);
	return read(reports, failure, sizeof *failure) == 0;
}

static bool change_in_namespaces(const struct container *container, const struct identity_spec *identity,
				 bool has_boot_id, struct failure *failure)
{
	int ends[2];
	int status = 0;
	bool changed;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "pipe");
	child = fork();
	if (child == 0) {
		if (change_inside(container, identity, has_boot_id, failure))
			_exit(0);
		(void)!write(ends[1], failure, sizeof *failure);
		_exit(1);
	}
	close(ends[1]);
	changed = child > 0 ? wait_for(ends[0], container, failure) : fail(failure, ERROR_SETUP_FAILED, errno, "fork");
	close(ends[0]);
	if (child > 0 && !changed)
		kill(child, SIGKILL);
	// Also one that a signal ended has reported nothing.
	if (child > 0 && (waitpid(child, &status, 0) != child || status != 0) && changed)
		changed = fail(failure, ERROR_SETUP_FAILED, 0, "the change of container %u failed", container->id);
	return changed;
}

static bool change(struct container *container, const struct identity_spec *identity, struct failure *failure)
{
	const bool has_boot_id = access(IDENTITY_BOOT_ID, F_OK) == 0;

	return identity_write_boot_id(failure) &&
	       identity_write_line(IDENTITY_MACHINE_ID, identity->machine_id, failure) &&
	       rootfs_change_files(identity, failure) &&
	       (container->state != CONTAINER_RUNNING ||
		change_in_namespaces(container, identity, has_boot_id, failure));
}

bool clone_change(struct container *container, const struct identity_spec *identity, struct failure *failure)
{
	bool changed = enter_directory(container, failure) && change(container, identity, failure);

	(void)!chdir("/");
	if (!changed)
		return false;
	snprintf(container->hostname, sizeof container->hostname, "%s", identity->hostname);
	container->request.container.hostname = container->hostname;
	return true;
}
