// A hook in the container's namespaces, before its root is entered: the program is the host's.
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci.h"

int run_hook(int count, char **words)
{
	const int namespaces = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWPID;
	int container;
	int status;
	pid_t pid;

	if (count < 5)
		die("usage: tsvm-oci hook PID DIRECTORY PATH ARGUMENT...");
	container = (int)syscall(SYS_pidfd_open, atoi(words[1]), 0);
	if (container < 0 || setns(container, namespaces) != 0)
		die("enter the container's namespaces: %s", strerror(errno));
	if (chdir(words[2]) != 0)
		die("%s: %s", words[2], strerror(errno));
	// It is the child that is in the pid namespace.
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0) {
		close(container);
		execv(words[3], words + 4);
		die("%s", strerror(errno));
	}
	if (waitpid(pid, &status, 0) != pid)
		die("wait: %s", strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
