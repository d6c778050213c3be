// Namespaces, in which the program finds an empty root with the files that it may read, no network, and no processes
// but its own. A user other than root makes them in a user namespace that has this one user.
#include "jail.h"
#include "linux.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// The root is mounted here, over what was there, and is then the only thing left.
#define NEW_ROOT "/tmp"
#define ROOT_OPTIONS "size=256k,nr_inodes=512,mode=755"

static bool failed(struct reason *why, const char *what)
{
	reason_set(why, what);
	return false;
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return written;
}

// A user, as the namespace outside knows it.
struct identity {
	uid_t uid;
	gid_t gid;
};

static bool map_user(const struct identity *user)
{
	char map[64];
	if (!write_file("/proc/self/setgroups", "deny"))
		return false;
	snprintf(map, sizeof map, "%u %u 1", user->uid, user->uid);
	if (!write_file("/proc/self/uid_map", map))
		return false;
	snprintf(map, sizeof map, "%u %u 1", user->gid, user->gid);
	return write_file("/proc/self/gid_map", map);
}

// Returns the path below the new root, whose root is the working directory.
static const char *below_root(const char *path)
{
	return path + strspn(path, "/");
}

static bool make_parents(const char *path)
{
	char parent[PATH_MAX];
	if (strlen(path) >= sizeof parent)
		return false;
	strcpy(parent, path);
	for (char *slash = strchr(parent, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (mkdir(parent, 0755) != 0 && errno != EEXIST)
			return false;
		*slash = '/';
	}
	return true;
}

// A file or folder of the host, as a mount that is not in the tree yet.
struct source {
	// -1: it is a link, whose text is in `link`, or does not exist.
	int tree;
	char link[PATH_MAX];
};

static bool open_source(const char *path, uint64_t attributes, struct source *source)
{
	struct stat status;
	source->tree = -1;
	source->link[0] = 0;
	if (lstat(path, &status) != 0)
		return errno == ENOENT;
	if (S_ISLNK(status.st_mode)) {
		ssize_t length = readlink(path, source->link, sizeof source->link - 1);
		source->link[length > 0 ? length : 0] = 0;
		return length > 0;
	}
	source->tree = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (source->tree < 0)
		return false;
	struct mount_attr attr = { .attr_set = attributes };
	return syscall(SYS_mount_setattr, source->tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr) == 0;
}

static bool place(const struct source *source, const char *path)
{
	const char *target = below_root(path);
	struct stat status;
	if (source->tree < 0 && source->link[0] == 0)
		return true;
	if (!make_parents(target))
		return false;
	if (source->tree < 0)
		return symlink(source->link, target) == 0;
	if (fstat(source->tree, &status) != 0)
		return false;
	if (S_ISDIR(status.st_mode)) {
		if (mkdir(target, 0755) != 0 && errno != EEXIST)
			return false;
	} else {
		int fd = open(target, O_CREAT | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			return false;
		close(fd);
	}
	return syscall(SYS_move_mount, source->tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) == 0;
}

// True if `path` is in a folder that is in the jail already.
static bool is_covered(const struct jail_spec *spec, int count, const char *path)
{
	for (int index = 0; index < count; index++) {
		size_t length = strlen(spec->readable[index]);
		if (strncmp(spec->readable[index], path, length) == 0 && (path[length] == 0 || path[length] == '/'))
			return true;
	}
	return false;
}

static struct source readable[MAX_WORDS], devices[MAX_WORDS];

// Every source is opened before the new root covers some of them.
static bool open_sources(const struct jail_spec *spec, struct reason *why)
{
	uint64_t common = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID;
	for (int index = 0; index < spec->readable_count; index++) {
		if (!open_source(spec->readable[index], common | MOUNT_ATTR_NODEV, &readable[index]))
			return failed(why, "mount of a file");
	}
	for (int index = 0; index < spec->device_count; index++) {
		char path[64];
		snprintf(path, sizeof path, "/dev/%s", spec->devices[index]);
		if (!open_source(path, common | MOUNT_ATTR_NOEXEC, &devices[index]))
			return failed(why, "mount of a device");
	}
	return true;
}

static bool mount_proc(void)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY;
	if (mkdir("proc", 0555) != 0)
		return false;
	// The program's own processes only. Linux 5.8 and later.
	return mount("proc", "proc", "proc", flags, "subset=pid") == 0 ||
	       mount("proc", "proc", "proc", flags, NULL) == 0;
}

// Files of the program's own, which end with it. It may execute them.
static bool mount_scratch(const struct jail_spec *spec)
{
	char options[64];
	if (spec->scratch == 0)
		return true;
	snprintf(options, sizeof options, "size=%llu,nr_inodes=64,mode=777", (unsigned long long)spec->scratch);
	if (mkdir("dev/shm", 0755) != 0)
		return false;
	return mount("tmpfs", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, options) == 0;
}

static bool make_root(const struct jail_spec *spec, struct reason *why)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return failed(why, "private mounts");
	if (!open_sources(spec, why))
		return false;
	if (mount("tmpfs", NEW_ROOT, "tmpfs", MS_NOSUID | MS_NODEV, ROOT_OPTIONS) != 0 || chdir(NEW_ROOT) != 0)
		return failed(why, "tmpfs");
	for (int index = 0; index < spec->readable_count; index++) {
		const char *path = spec->readable[index];
		if (!is_covered(spec, index, path) && !place(&readable[index], path))
			return failed(why, "mount of a file");
	}
	for (int index = 0; index < spec->device_count; index++) {
		char path[64];
		snprintf(path, sizeof path, "/dev/%s", spec->devices[index]);
		if (!place(&devices[index], path))
			return failed(why, "mount of a device");
	}
	if (!mount_proc())
		return failed(why, "proc");
	if ((mkdir("dev", 0755) != 0 && errno != EEXIST) || symlink("/proc/self/fd", "dev/fd") != 0)
		return failed(why, "dev");
	if (!mount_scratch(spec))
		return failed(why, "scratch");
	if (syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
		return failed(why, "pivot_root");
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	if (syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &attr, sizeof attr) != 0)
		return failed(why, "read-only root");
	return true;
}

static bool has_namespace(const char *name)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/ns/%s", name);
	return access(path, F_OK) == 0;
}

// Ends this process as the child ended. Keeps the descriptor that holds the program's user until then.
static _Noreturn void end_as(pid_t child, int user_lock)
{
	// The program alone decides how long its sockets and pipes live.
	if (user_lock > 0)
		syscall(SYS_close_range, 0, user_lock - 1, 0);
	syscall(SYS_close_range, user_lock + 1, ~0u, 0);
	int status;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status))
		_exit(WEXITSTATUS(status));
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	kill(getpid(), WTERMSIG(status));
	_exit(EXIT_LAUNCHER);
}

struct channel {
	int read;
	int write;
};

static bool open_channel(struct channel *channel)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) != 0)
		return false;
	channel->read = fds[0];
	channel->write = fds[1];
	return true;
}

// What the child tells its parent: why it cannot have namespaces, or a user of its own. Empty: it has.
struct outcome {
	struct reason namespaces;
	struct reason user;
};

// In the child. Returns once the parent knows that the jail is complete, with the child's process ID.
static pid_t set_up(const struct jail_spec *spec, bool namespaces, const struct identity *user, struct channel result,
		    struct channel go)
{
	static struct outcome outcome;
	pid_t pid;
	close(result.read);
	close(go.write);
	if (namespaces && user != NULL && !map_user(user))
		reason_set(&outcome.namespaces, "user namespace");
	else if (namespaces && make_root(spec, &outcome.namespaces) && sethostname("jail", 4) != 0)
		reason_set(&outcome.namespaces, "host name");
	bool complete = outcome.namespaces.text[0] == 0 && (spec->user == 0 || become_user(spec, &outcome.user));
	// A change of the user clears it.
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) {
		reason_set(&outcome.namespaces, "prctl");
		complete = false;
	}
	if (write(result.write, &outcome, sizeof outcome) != sizeof outcome || !complete)
		_exit(0);
	// At the end of file: the parent died before the signal for that was set.
	if (read(go.read, &pid, sizeof pid) != sizeof pid)
		_exit(EXIT_LAUNCHER);
	close(result.write);
	close(go.read);
	return pid;
}

// Goes on in a child, with namespaces or without. Returns true in the child, and false in this process, with reasons
// in the report, if the jail cannot be completed.
static bool enter_child(const struct jail_spec *spec, bool namespaces, struct jail_report *report)
{
	struct channel result, go;
	struct reason *why = namespaces ? &report->no_namespaces : &report->no_user;
	const struct identity identity = { getuid(), getgid() };
	bool user = !has_capability(CAP_SYS_ADMIN);
	bool network = has_namespace("net");
	int flags = CLONE_NEWNS | CLONE_NEWPID;
	flags |= (user ? CLONE_NEWUSER : 0) | (network ? CLONE_NEWNET : 0);
	flags |= (has_namespace("ipc") ? CLONE_NEWIPC : 0) | (has_namespace("cgroup") ? CLONE_NEWCGROUP : 0) |
		 (has_namespace("uts") ? CLONE_NEWUTS : 0);
	if (!open_channel(&result) || !open_channel(&go))
		return failed(why, "pipe");
	long child = syscall(SYS_clone, (namespaces ? flags : 0) | SIGCHLD, NULL, NULL, NULL, NULL);
	if (child == 0) {
		report->pid = set_up(spec, namespaces, user ? &identity : NULL, result, go);
		report->has_user_namespace = namespaces && user;
		report->has_namespaces = namespaces;
		report->has_network_namespace = namespaces && network;
		return true;
	}
	if (child < 0)
		reason_set(why, user ? "user namespaces" : "namespaces");
	close(result.write);
	close(go.read);
	if (child > 0) {
		struct outcome outcome = { { "the launcher ended early" }, { "" } };
		pid_t pid = (pid_t)child;
		ssize_t count = read(result.read, &outcome, sizeof outcome);
		if (count == sizeof outcome && outcome.namespaces.text[0] == 0 && outcome.user.text[0] == 0 &&
		    write(go.write, &pid, sizeof pid) == sizeof pid)
			end_as(pid, spec->user == 0 ? -1 : spec->user_lock);
		if (outcome.user.text[0] != 0)
			report->no_user = outcome.user;
		else
			*why = outcome.namespaces;
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	close(result.read);
	close(go.write);
	return false;
}

void enter_jail(struct jail_spec *spec, struct jail_report *report)
{
	report->pid = getpid();
	if (!has_namespace("net")) {
		errno = ENOSYS;
		reason_set(&report->no_network_namespace, "network namespaces");
	}
	if (enter_child(spec, true, report))
		return;
	if (spec->user != 0 && report->no_user.text[0] == 0 && enter_child(spec, false, report))
		return;
	// Namespaces do not depend on the user.
	if (report->no_user.text[0] != 0 && spec->user != 0) {
		leave_user(spec);
		if (report->no_namespaces.text[0] == 0)
			enter_child(spec, true, report);
	}
}
