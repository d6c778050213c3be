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

pid_t fork_first(struct container *container)
{
	int pidfd = -1;
	struct clone_args arguments = {
		.flags = CLONE_NEWPID | CLONE_PIDFD | CLONE_INTO_CGROUP,
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)container->cgroup,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);

	if (pid > 0) {
		container->state = CONTAINER_STARTING;
		container->pid = pid;
		container->pidfd = pidfd;
	}
	return pid;
}

// Returns the agent's own pid namespace, or -1.
static int own_pid_namespace(void)
{
	static int own = -1;

	if (own < 0)
		own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	return own;
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

// setns(2) changes the pid namespace of future children only. The second call resets it for later
// ones.
pid_t fork_into(const struct container *container)
{
	int own = own_pid_namespace();
	pid_t pid;
	int error;

	if (own < 0 || setns(container->pidfd, CLONE_NEWPID) != 0)
		return -1;
	pid = fork_beside(container);
	error = errno;
	if (pid != 0 && setns(own, CLONE_NEWPID) != 0)
		loop_stop("cannot return to the agent's pid namespace");
	errno = error;
	return pid;
}
