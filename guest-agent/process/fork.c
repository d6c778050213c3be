// clone3(2) starts the child in its cgroup. The C library has no wrapper for it and does not notice
// the fork.
#include "process/fork.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/linux.h"
#include "base/loop.h"
#include "container/cgroup.h"

// Returns the agent's own pid namespace, or -1.
static int own_pid_namespace(void)
{
	static int own = -1;

	if (own < 0)
		own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	return own;
}

// setns(2) changes the pid namespace of future children only.
static bool enter_pid_namespace(const struct container *container)
{
	return own_pid_namespace() >= 0 && setns(container->pidfd, CLONE_NEWPID) == 0;
}

// Later children are in the agent's own again. Keeps errno.
static void leave_pid_namespace(void)
{
	int error = errno;

	if (setns(own_pid_namespace(), CLONE_NEWPID) != 0)
		loop_stop("cannot return to the agent's pid namespace");
	errno = error;
}

pid_t fork_first(struct container *container, const struct container *joined)
{
	int pidfd = -1;
	struct clone_args arguments = {
		.flags = CLONE_PIDFD | CLONE_INTO_CGROUP | (joined == NULL ? CLONE_NEWPID : 0),
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)container->cgroup,
	};
	pid_t pid;

	if (joined != NULL && !enter_pid_namespace(joined))
		return -1;
	pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
	if (joined != NULL && pid != 0)
		leave_pid_namespace();
	if (pid > 0) {
		container->state = CONTAINER_STARTING;
		container->pid = pid;
		container->pidfd = pidfd;
	}
	return pid;
}

static pid_t fork_in_cgroup(int cgroup)
{
	struct clone_args arguments = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)cgroup,
	};

	return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

// The process joins process 1, wherever that has moved. In the container's own cgroup it could be in
// the way: a cgroup that has processes cannot enable a controller for inner ones (cgroup-v2.rst, "No
// Internal Process Constraint"), and systemd would then limit no unit. The container's own is left for
// when process 1 moves at this moment.
static pid_t fork_beside(const struct container *container)
{
	int inner = cgroup_of(container->pid);
	pid_t pid = inner >= 0 ? fork_in_cgroup(inner) : -1;

	if (inner >= 0 && pid != 0)
		close(inner);
	return pid >= 0 ? pid : fork_in_cgroup(container->cgroup);
}

pid_t fork_into(const struct container *container)
{
	pid_t pid;

	if (!enter_pid_namespace(container))
		return -1;
	pid = fork_beside(container);
	if (pid != 0)
		leave_pid_namespace();
	return pid;
}
