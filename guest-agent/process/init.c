// The container's init (`--init`). It forwards signals to the program, reaps orphans, and exits
// when the program does, with its code or 128 + n for signal n. Its exit ends the container.
#include "process/init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// Signals of its own faults. They are not blocked, so that they kill it.
static const int faults[] = { SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS };

static void take_terminal(void)
{
	sigset_t stop;

	sigemptyset(&stop);
	sigaddset(&stop, SIGTTOU);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	tcsetpgrp(STDIN_FILENO, getpid());
	sigprocmask(SIG_UNBLOCK, &stop, NULL);
}

pid_t init_fork(bool terminal, struct failure *failure)
{
	pid_t program = fork();

	if (program < 0)
		fail(failure, ERROR_SETUP_FAILED, errno, "fork");
	if (program == 0) {
		setpgid(0, 0);
		if (terminal)
			take_terminal();
	}
	return program;
}

// Closes its copies, so that the program's streams end with the program.
static void close_descriptors(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int number = 0; null >= 0 && number < 3; number++)
		dup2(null, number);
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0);
}

static void reap(pid_t program)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == program)
			_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	}
}

_Noreturn void init_run(pid_t program)
{
	sigset_t signals;

	close_descriptors();
	sigfillset(&signals);
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		sigdelset(&signals, faults[i]);
	sigprocmask(SIG_SETMASK, &signals, NULL);
	// The program may have ended before SIGCHLD was blocked.
	reap(program);
	for (;;) {
		int number = sigwaitinfo(&signals, NULL);

		if (number == SIGCHLD)
			reap(program);
		else if (number > 0)
			kill(program, number);
	}
}
