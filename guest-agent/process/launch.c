// The launch of a process.
#include "process/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/linux.h"
#include "container/rootfs.h"
#include "container/sysctl.h"
#include "process/hooks.h"
#include "process/init.h"
#include "process/privileges.h"
#include "process/program.h"
#include "process/terminal.h"
#include "tools/tool.h"

static const int namespaces = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP;

// By their bits in a container's `joined`.
static const int joined_namespaces[] = { CLONE_NEWIPC, CLONE_NEWUTS };

// Those that are a container's own.
static int own_namespaces(const struct container_request *container)
{
	int own = namespaces;

	for (size_t i = 0; i < sizeof joined_namespaces / sizeof *joined_namespaces; i++) {
		if ((container->joined & UINT64_C(1) << i) != 0)
			own &= ~joined_namespaces[i];
	}
	return own;
}

static bool send_message(int status, const struct launch_message *message, int master)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec data = { .iov_base = (void *)(uintptr_t)message, .iov_len = sizeof *message };
	struct msghdr header = { .msg_iov = &data, .msg_iovlen = 1 };

	if (master >= 0) {
		header.msg_control = control.bytes;
		header.msg_controllen = sizeof control.bytes;
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof master);
		memcpy(CMSG_DATA(&control.header), &master, sizeof master);
	}
	return sendmsg(status, &header, MSG_NOSIGNAL) == (ssize_t)sizeof *message;
}

bool launch_receive(int status, struct launch_message *message, int *master)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec data = { .iov_base = message, .iov_len = sizeof *message };
	struct msghdr header = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof control.bytes,
	};

	*master = -1;
	if (recvmsg(status, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != (ssize_t)sizeof *message)
		return false;
	if (header.msg_controllen >= CMSG_LEN(sizeof *master) && control.header.cmsg_type == SCM_RIGHTS)
		memcpy(master, CMSG_DATA(&control.header), sizeof *master);
	return true;
}

// Of all signals the agent ignores one. Each further call would cost a guest of User-Mode Linux two
// switches of processes.
static void reset_signals(void)
{
	sigset_t none;

	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

// The agent is protected from the OOM killer. Its children inherit that, and must not have it.
static void reset_oom_score(void)
{
	int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (file >= 0) {
		(void)!write(file, "0", 1);
		close(file);
	}
}

static bool enter_container(const struct launch *launch, struct failure *failure)
{
	const struct container *container = launch->container;
	const char *hostname = container->spec->hostname;

	if (!launch->first)
		return setns(container->pidfd, namespaces) == 0 ||
		       fail(failure, ERROR_SETUP_FAILED, errno, "enter the container");
	if (unshare(own_namespaces(container->spec)) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "new namespaces");
	if (sethostname(hostname, strlen(hostname)) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "set host name");
	if (chdir(container->directory) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "%s", container->directory);
	return rootfs_enter(container->spec, launch->process->cwd, failure);
}

static bool open_terminal(const struct launch *launch, int *slave, struct failure *failure)
{
	const struct process_request *process = launch->process;
	const struct launch_message message = { .stage = LAUNCH_TERMINAL };
	int master;

	if (!terminal_open(process->terminal.columns, process->terminal.rows, &master, slave, failure))
		return false;
	if (launch->first && !terminal_bind_console(master, failure))
		return false;
	if (!send_message(launch->status, &message, master))
		return fail(failure, ERROR_SETUP_FAILED, errno, "hand over the terminal");
	close(master);
	return true;
}

// The standard streams belong to the process's user, so that the process can reopen them as
// /dev/stdout.
static bool open_streams(const struct launch *launch, const struct user *user, struct failure *failure)
{
	int terminal = -1;
	int null = -1;

	setsid();
	if (launch->process->has_terminal) {
		if (!open_terminal(launch, &terminal, failure))
			return false;
		if (ioctl(terminal, TIOCSCTTY, 0) != 0)
			return fail(failure, ERROR_SETUP_FAILED, errno, "controlling terminal");
	} else {
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (null < 0)
			return fail(failure, ERROR_SETUP_FAILED, errno, "/dev/null");
	}
	for (int number = 0; number < 3; number++) {
		int end = terminal >= 0 ? terminal : launch->streams[number];

		if (end >= 0 && fchown(end, user->uid, (gid_t)-1) != 0)
			return fail(failure, ERROR_SETUP_FAILED, errno, "owner of stream %d", number);
		if (dup2(end >= 0 ? end : null, number) < 0)
			return fail(failure, ERROR_SETUP_FAILED, errno, "stream %d", number);
	}
	return true;
}

// EACCES and EPERM are left to change_directory_as_user(): root may have no access to a directory
// that the process's user can enter.
static bool change_directory(const char *cwd, struct failure *failure)
{
	return chdir(cwd) == 0 || errno == EACCES || errno == EPERM ||
	       fail(failure, program_error_kind(errno), errno, "chdir to %s", cwd);
}

static bool change_directory_as_user(const char *cwd, struct failure *failure)
{
	char at[PATH_MAX];

	return (getcwd(at, sizeof at) != NULL && strcmp(at, cwd) == 0) || chdir(cwd) == 0 ||
	       fail(failure, program_error_kind(errno), errno, "chdir to %s", cwd);
}

// Closes the agent's descriptors: its connections, and those of other containers. `status` closes
// when the program is executed. Once it has dropped its privileges, processes of the container may
// trace this one and use what it has open.
static bool close_descriptors(int status, struct failure *failure)
{
	const unsigned first = STDERR_FILENO + 1;
	const unsigned kept = (unsigned)status;

	if ((kept > first && syscall(SYS_close_range, first, kept - 1, 0) != 0) ||
	    syscall(SYS_close_range, kept + 1, ~0U, 0) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "close descriptors");
	return true;
}

// Runs a tool as root with all privileges. Returns only on failure.
static bool become_tool(const struct launch *launch, struct failure *failure)
{
	const struct process_request *process = launch->process;
	const struct launch_message ready = { .stage = LAUNCH_READY };
	const struct tool *tool = tool_find(process->argv.items[0]);
	const struct user root = { 0 };

	if (tool == NULL)
		return fail(failure, ERROR_NOT_FOUND, 0, "no tool %.200s", process->argv.items[0]);
	if ((!tool->outside && !enter_container(launch, failure)) || !open_streams(launch, &root, failure))
		return false;
	if (chdir(tool->outside ? launch->container->directory : "/") != 0 || !send_message(launch->status, &ready, -1))
		return fail(failure, ERROR_SETUP_FAILED, errno, "report");
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0);
	_exit(tool->run(process->argv.items + 1) ? 0 : 1);
}

static bool become(const struct launch *launch, struct failure *failure)
{
	const struct process_request *process = launch->process;
	const struct launch_message ready = { .stage = LAUNCH_READY };
	struct accounts accounts;
	struct user user;
	char **env;

	reset_signals();
	reset_oom_score();
	if (process->tool)
		return become_tool(launch, failure);
	if (!enter_container(launch, failure))
		return false;
	if (!accounts_read(&accounts, failure) ||
	    !(process->exact ? user_exact : user_find)(&user, &accounts, process->user, &process->groups, failure))
		return false;
	if (!open_streams(launch, &user, failure))
		return false;
	if (launch->first &&
	    (!sysctl_apply(launch->container->spec, failure) || !rootfs_protect(launch->container->spec, failure)))
		return false;
	if (!change_directory(process->cwd, failure) || !privileges_set_rlimits(process, failure))
		return false;
	env = program_environment(process, &user);
	if (env == NULL)
		return fail(failure, ERROR_SETUP_FAILED, ENOMEM, "environment");
	if (!close_descriptors(launch->status, failure) || !privileges_drop(process, &user, failure) ||
	    !change_directory_as_user(process->cwd, failure))
		return false;
	umask((mode_t)process->umask);
	if (!send_message(launch->status, &ready, -1))
		return fail(failure, ERROR_SETUP_FAILED, errno, "report");
	if (launch->first && launch->container->spec->init) {
		pid_t program = init_fork(process->has_terminal, failure);

		if (program > 0 && privileges_forgo(process, &user, failure))
			init_run(program);
		if (program != 0)
			return false;
	}
	return privileges_seal(process, &user, failure) && hooks_run(process, failure) &&
	       program_execute(process->argv.items, env, failure);
}

_Noreturn void launch(const struct launch *launch)
{
	struct launch_message message = { .stage = LAUNCH_FAILED };

	become(launch, &message.failure);
	send_message(launch->status, &message, -1);
	_exit(125);
}
