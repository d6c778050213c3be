// Resolving paths in an untrusted root. A path is walked one name at a time. `walked` is the part
// done, without symbolic links. Every step starts from the root with openat2(RESOLVE_IN_ROOT), so
// that even a wrong `walked` cannot lead outside. Nothing else changes the tree in the meantime: no
// process of the container runs yet.
#include "container/target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/linux.h"

enum { MAX_LINKS = 40 };

struct walk {
	int root;
	char walked[PATH_MAX]; // relative to the root; "" is the root
	char rest[PATH_MAX];   // still to walk
	int links;
};

// `path` is relative to the root; "" is the root.
static int open_in_root(int root, const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, root, path[0] != '\0' ? path : ".", &how, sizeof how);
}

// Moves the first name of `rest` into `name`. `more` is false if there is none.
static bool take_name(struct walk *walk, char name[NAME_MAX + 1], struct failure *failure, bool *more)
{
	const char *start = walk->rest + strspn(walk->rest, "/");
	size_t length = strcspn(start, "/");

	*more = length > 0;
	if (length > NAME_MAX)
		return fail(failure, ERROR_SETUP_FAILED, ENAMETOOLONG, "%s", walk->rest);
	memcpy(name, start, length);
	name[length] = '\0';
	memmove(walk->rest, start + length, strlen(start + length) + 1);
	return true;
}

static bool is_last(const struct walk *walk)
{
	return walk->rest[strspn(walk->rest, "/")] == '\0';
}

static void leave_directory(struct walk *walk)
{
	char *slash = strrchr(walk->walked, '/');

	*(slash != NULL ? slash : walk->walked) = '\0';
}

// Puts the text of the link in front of `rest`. An absolute link starts at the root again.
static bool follow(struct walk *walk, int link, struct failure *failure)
{
	char text[PATH_MAX];
	char rest[PATH_MAX];
	ssize_t length = readlinkat(link, "", text, sizeof text - 1);

	if (length < 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "%s", walk->walked);
	text[length] = '\0';
	if (++walk->links > MAX_LINKS)
		return fail(failure, ERROR_SETUP_FAILED, ELOOP, "%s", text);
	memcpy(rest, walk->rest, sizeof rest);
	if ((size_t)snprintf(walk->rest, sizeof walk->rest, "%s/%s", text, rest) >= sizeof walk->rest)
		return fail(failure, ERROR_SETUP_FAILED, ENAMETOOLONG, "%s", text);
	if (text[0] == '/')
		walk->walked[0] = '\0';
	return true;
}

static bool create(struct walk *walk, const char *name, enum target_kind kind, struct failure *failure)
{
	int parent = open_in_root(walk->root, walk->walked, O_PATH | O_DIRECTORY);
	bool created = false;

	if (parent >= 0 && (kind == TARGET_DIRECTORY || !is_last(walk))) {
		created = mkdirat(parent, name, 0755) == 0;
	} else if (parent >= 0) {
		int file = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

		created = file >= 0;
		if (created)
			close(file);
	}
	if (!created)
		fail(failure, ERROR_SETUP_FAILED, errno, "create %s in /%s", name, walk->walked);
	if (parent >= 0)
		close(parent);
	return created;
}

// Walks one name.
static bool step(struct walk *walk, const char *name, enum target_kind kind, struct failure *failure)
{
	char next[PATH_MAX];
	struct stat status;
	int fd;
	bool stepped = true;

	if (strcmp(name, ".") == 0)
		return true;
	if (strcmp(name, "..") == 0) {
		leave_directory(walk);
		return true;
	}
	if ((size_t)snprintf(next, sizeof next, "%s%s%s", walk->walked, walk->walked[0] != '\0' ? "/" : "", name) >=
	    sizeof next)
		return fail(failure, ERROR_SETUP_FAILED, ENAMETOOLONG, "%s", name);
	fd = open_in_root(walk->root, next, O_PATH | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT) {
		if (!create(walk, name, kind, failure))
			return false;
		fd = open_in_root(walk->root, next, O_PATH | O_NOFOLLOW);
	}
	if (fd < 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "/%s", next);
	if (fstat(fd, &status) == 0 && S_ISLNK(status.st_mode))
		stepped = follow(walk, fd, failure);
	else
		strcpy(walk->walked, next);
	close(fd);
	return stepped;
}

int target_open(int root, const char *path, enum target_kind kind, struct failure *failure)
{
	struct walk walk = { .root = root };
	char name[NAME_MAX + 1];
	struct stat status;
	bool more;
	int fd;

	if (strlen(path) >= sizeof walk.rest) {
		fail(failure, ERROR_SETUP_FAILED, ENAMETOOLONG, "%s", path);
		return -1;
	}
	strcpy(walk.rest, path);
	for (;;) {
		if (!take_name(&walk, name, failure, &more))
			return -1;
		if (!more)
			break;
		if (!step(&walk, name, kind, failure))
			return -1;
	}
	fd = open_in_root(root, walk.walked, O_PATH);
	if (fd < 0 || fstat(fd, &status) != 0) {
		fail(failure, ERROR_SETUP_FAILED, errno, "%s", path);
	} else if (S_ISDIR(status.st_mode) != (kind == TARGET_DIRECTORY)) {
		fail(failure, ERROR_SETUP_FAILED, kind == TARGET_DIRECTORY ? ENOTDIR : EISDIR, "%s", path);
	} else {
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

int target_find(int root, const char *path)
{
	return open_in_root(root, path, O_PATH | O_DIRECTORY);
}

bool target_mount(int root, const char *path, enum target_kind kind, const char *source, const char *type,
		  unsigned long flags, const char *options, struct failure *failure)
{
	char place[32];
	int target = target_open(root, path, kind, failure);
	bool mounted;

	if (target < 0)
		return false;
	snprintf(place, sizeof place, "/proc/self/fd/%d", target);
	mounted = mount(source, place, type, flags, options) == 0;
	if (!mounted)
		fail(failure, ERROR_SETUP_FAILED, errno, "mount %s", path);
	close(target);
	return mounted;
}
