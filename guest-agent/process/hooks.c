#include "process/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

// Bytes that are told of a hook's complaint.
enum { MAX_COMPLAINT = 255 };

static void on_alarm(int number)
{
	(void)number;
}

static bool write_all(int file, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t count = write(file, bytes, length);

		if (count < 0)
			return false;
		bytes += count;
		length -= (size_t)count;
	}
	return lseek(file, 0, SEEK_SET) == 0;
}

static _Noreturn void become_hook(const struct hook_spec *hook, int input, int complaint)
{
	char *none[] = { (char *)(uintptr_t)hook->path, NULL };
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	signal(SIGALRM, SIG_DFL);
	setsid();
	if (dup2(input, STDIN_FILENO) >= 0 && dup2(null, STDOUT_FILENO) >= 0 && dup2(complaint, STDERR_FILENO) >= 0)
		execve(hook->path, hook->argv.count > 0 ? hook->argv.items : none, hook->env.items);
	dprintf(complaint, "%s", strerror(errno));
	_exit(127);
}

// Waits until the hook has ended, and kills it once it is late. Returns -1 for one that was late.
static int await(pid_t hook, unsigned seconds)
{
	const struct sigaction action = { .sa_handler = on_alarm };
	int status = 0;
	bool late = false;

	sigaction(SIGALRM, &action, NULL);
	alarm(seconds);
	while (waitpid(hook, &status, 0) < 0 && errno == EINTR) {
		late = true;
		kill(-hook, SIGKILL);
		// It may not lead its group yet.
		kill(hook, SIGKILL);
	}
	alarm(0);
	signal(SIGALRM, SIG_DFL);
	return late ? -1 : status;
}

static bool judge(const struct hook_spec *hook, int status, int complaint, struct failure *failure)
{
	char said[MAX_COMPLAINT + 1] = "";
	ssize_t length;

	if (status == 0)
		return true;
	if (status == -1)
		return fail(failure, ERROR_SETUP_FAILED, 0, "startContainer hook (%.128s): timed out after %u s",
			    hook->path, hook->timeout);
	length = pread(complaint, said, MAX_COMPLAINT, 0);
	while (length > 0 && said[length - 1] == '\n')
		length--;
	said[length > 0 ? length : 0] = '\0';
	return fail(failure, ERROR_SETUP_FAILED, 0, "startContainer hook (%.128s): %s %d%s%s", hook->path,
		    WIFSIGNALED(status) ? "signal" : "exit code",
		    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), length > 0 ? ": " : "", said);
}

// Files in memory: a hook that does not read, and one that says much, keep nobody waiting.
static bool run(const struct hook_spec *hook, const char *state, struct failure *failure)
{
	int input = memfd_create("state", MFD_CLOEXEC);
	int complaint = memfd_create("complaint", MFD_CLOEXEC);
	pid_t pid = -1;
	bool done;

	if (input >= 0 && complaint >= 0 && write_all(input, state, strlen(state)))
		pid = fork();
	if (pid == 0)
		become_hook(hook, input, complaint);
	done = pid > 0 ? judge(hook, await(pid, hook->timeout), complaint, failure) :
			 fail(failure, ERROR_SETUP_FAILED, errno, "startContainer hook (%.128s)", hook->path);
	close(input);
	close(complaint);
	return done;
}

bool hooks_run(const struct process_request *process, struct failure *failure)
{
	for (size_t i = 0; i < process->hooks.count; i++) {
		if (!run(&process->hooks.items[i], process->hook_state, failure))
			return false;
	}
	return true;
}
