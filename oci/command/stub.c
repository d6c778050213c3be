// The process that engines see as the container's first one: with the container's root as its root, in
// namespaces of its own, so that what an engine does by its process id meets the container and not the
// host. It runs nothing of the container, which runs in the machine.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "oci.h"

#ifndef NS_GET_NSTYPE
#define NS_GET_NSTYPE _IO(0xb7, 3) // linux/nsfs.h
#endif

static int told;

static _Noreturn void fail(const char *what)
{
	send_line(told, "%s: %s\n", what, strerror(errno));
	_exit(1);
}

static void enter_network(const char *path)
{
	struct stat own;
	struct stat host;
	struct stat wanted;
	int file;

	if (path == NULL) {
		if (unshare(CLONE_NEWNET) != 0)
			fail("new network namespace");
		return;
	}
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file >= 0 && ioctl(file, NS_GET_NSTYPE) != CLONE_NEWNET) {
		send_line(told, "%s: no network namespace\n", path);
		_exit(1);
	}
	if (file < 0 || fstat(file, &wanted) != 0)
		fail(path);
	if (stat("/proc/self/ns/net", &own) != 0 || stat("/proc/1/ns/net", &host) != 0)
		fail("tsvm cannot tell the network namespace from the host's own: /proc/1/ns/net");
	if ((wanted.st_ino == own.st_ino && wanted.st_dev == own.st_dev) ||
	    (wanted.st_ino == host.st_ino && wanted.st_dev == host.st_dev)) {
		send_line(told, "tsvm runs no container in the host's network: use runc for this one\n");
		_exit(1);
	}
	if (setns(file, CLONE_NEWNET) != 0)
		fail("enter the network namespace");
	close(file);
}

// Engines find the container's cgroup by its process.
static void enter_cgroups(const struct plan *plan)
{
	for (size_t i = 0; i < plan->cgroup_count; i++) {
		int folder = open(plan->cgroups[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
		int file = folder < 0 ? -1 : openat(folder, "cgroup.procs", O_WRONLY | O_CLOEXEC);

		if (file < 0 || write(file, "0", 1) != 1)
			fail(plan->cgroups[i]);
		close(file);
		close(folder);
	}
}

// Waits until the keeper has done its part.
static void await_keeper(int ready)
{
	char line[MAX_LINE];

	send_line(ready, "\n");
	if (!read_line(ready, line))
		_exit(1);
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (file < 0 || strlen(path) >= sizeof address.sun_path)
		fail("socket of the streams");
	memcpy(address.sun_path, path, strlen(path));
	if (bind(file, (const struct sockaddr *)&address, sizeof address) != 0 || listen(file, 8) != 0)
		fail("socket of the streams");
	return file;
}

static void send_master(const char *console_socket, int master)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec data = { .iov_base = "/dev/ptmx", .iov_len = 9 };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof control.bytes,
	};
	int file = connect_to(console_socket);

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof master);
	memcpy(CMSG_DATA(&control.header), &master, sizeof master);
	if (file < 0 || sendmsg(file, &message, MSG_NOSIGNAL) != 9)
		fail("console socket");
	close(file);
}

// Raw before it is sent, because engines change flags of what they receive. The guest has the terminal
// that the program sees.
static void open_terminal(const char *console_socket)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios settings;
	int unlocked = 0;
	int slave;

	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) != 0)
		fail("terminal");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	if (slave < 0 || tcgetattr(slave, &settings) != 0)
		fail("terminal");
	cfmakeraw(&settings);
	if (tcsetattr(slave, TCSANOW, &settings) != 0 || ioctl(slave, TIOCSCTTY, 0) != 0)
		fail("terminal");
	send_master(console_socket, master);
	close(master);
	for (int number = 0; number < 3; number++) {
		if (dup2(slave, number) < 0)
			fail("terminal");
	}
	close(slave);
}

static void mount_root(const char *root)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0 || mount(root, root, NULL, MS_BIND, NULL) != 0)
		fail("root file system");
}

static void enter_root(const char *root)
{
	if (chdir(root) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 ||
	    chdir("/") != 0)
		fail("root file system");
}

void stub(const struct plan *plan, const char *console_socket, int ready)
{
	int control;
	int streams;
	int score;

	told = ready;
	setsid();
	if (plan->scope)
		await_keeper(ready);
	enter_cgroups(plan);
	score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (plan->terminal)
		open_terminal(console_socket);
	control = connect_to(plan->control);
	if (control < 0)
		fail("the keeper's socket");
	streams = listen_at(plan->streams);
	enter_network(plan->network);
	if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) != 0)
		fail("new namespaces");
	if (plan->hostname != NULL && sethostname(plan->hostname, strlen(plan->hostname)) != 0)
		fail("host name");
	mount_root(plan->root);
	if (plan->hooks)
		await_keeper(ready);
	enter_root(plan->root);
	send_line(control, "stub\n");
	send_line(ready, "\n");
	close(ready);
	pump(control, streams, plan->terminal, score);
}

void exec_stub(const struct plan *plan, const char *console_socket, int container, int keeper, int ready)
{
	char line[MAX_LINE];
	int streams;

	told = ready;
	setsid();
	enter_cgroups(plan);
	if (plan->terminal)
		open_terminal(console_socket);
	streams = listen_at(plan->streams);
	if (setns(container, CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET) != 0)
		fail("enter the container's namespaces");
	close(container);
	if (plan->terminal)
		send_size(keeper);
	send_line(ready, "\n");
	if (!read_line(ready, line))
		_exit(1);
	close(ready);
	pump(keeper, streams, plan->terminal, -1);
}
