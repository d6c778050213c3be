// Runs the user's command, and measures it.
#include "gauge.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT_INVOKE = 126, NOT_FOUND = 127, BY_SIGNAL = 128 };

/** Prints `tsvm-gauge: NANOSECONDS` as the last line of stderr. */
int gauge_run(const char *folder, char **command)
{
	uint64_t start = gauge_now();
	pid_t child = fork();
	if (child < 0)
		gauge_fail("fork");
	if (child == 0) {
		if (chdir(folder) != 0)
			gauge_fail(folder);
		execvp(command[0], command);
		int error = errno;
		fprintf(stderr, "%s: %s\n", command[0], strerror(error));
		_exit(error == ENOENT ? NOT_FOUND : CANNOT_INVOKE);
	}
	int status;
	// Process 1 may also get the exit statuses of strangers.
	while (waitpid(child, &status, 0) != child)
		if (errno != EINTR)
			gauge_fail("waitpid");
	fprintf(stderr, "\ntsvm-gauge: %llu\n", (unsigned long long)(gauge_now() - start));
	return WIFSIGNALED(status) ? BY_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}
