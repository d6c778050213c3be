// Passes files and folders to a process in a jail, each as a mount that is in no tree: from its root no path leads
// out, by `..` or otherwise. A descriptor of a folder itself would open all of the host to a process in another root.
#include "jail.h"
#include "linux.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// SCM_MAX_FD.
#define MAX_PASSED 253
// Before the descriptor of what may not be changed through the mount.
#define READ_ONLY "ro:"

static int fail(const char *what)
{
	fprintf(stderr, "tsvm-jail: %s: %s\n", what, strerror(errno));
	return EXIT_LAUNCHER;
}

// The same file in the mount namespace of this process; -1 if it is not there any more.
static int find_again(int fd)
{
	char link[64], path[PATH_MAX];
	struct stat given, found;
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, sizeof path - 1);
	if (length < 0)
		return -1;
	path[length] = 0;
	int again = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
	if (again < 0)
		return -1;
	if (fstat(fd, &given) != 0 || fstat(again, &found) != 0)
		return -1;
	if (given.st_dev != found.st_dev || given.st_ino != found.st_ino) {
		errno = ESTALE;
		return -1;
	}
	return again;
}

static int detach(int fd, bool read_only)
{
	struct mount_attr attr = { .attr_set =
					   MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0) };
	int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE;
	int tree = (int)syscall(SYS_open_tree, fd, "", flags);
	if (tree < 0)
		return -1;
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr) != 0)
		return -1;
	return tree;
}

static bool send_trees(int socket, const char *line, const int *trees, size_t count)
{
	static union {
		char bytes[CMSG_SPACE(sizeof(int) * MAX_PASSED)];
		struct cmsghdr header;
	} control;
	struct iovec data = { .iov_base = (char *)(uintptr_t)line, .iov_len = strlen(line) };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = (socklen_t)CMSG_SPACE(sizeof(int) * count),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = (socklen_t)CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(header), trees, sizeof(int) * count);
	return sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)strlen(line);
}

int pass_trees(int socket, const char *line, char **words)
{
	static int trees[MAX_PASSED];
	size_t count = 0;
	int flags = CLONE_NEWNS | (has_capability(CAP_SYS_ADMIN) ? 0 : CLONE_NEWUSER);
	if (unshare(flags) != 0)
		return fail("namespaces");
	for (; *words != NULL; words++) {
		if (count == MAX_PASSED) {
			errno = E2BIG;
			return fail("too many files");
		}
		size_t mark = strncmp(*words, READ_ONLY, strlen(READ_ONLY)) == 0 ? strlen(READ_ONLY) : 0;
		int found = find_again(atoi(*words + mark));
		if (found < 0)
			return fail("the file");
		trees[count] = detach(found, mark != 0);
		if (trees[count++] < 0)
			return fail("mount of the file");
	}
	return send_trees(socket, line, trees, count) ? 0 : fail("socket");
}
