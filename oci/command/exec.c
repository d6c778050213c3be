// The call `exec`.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci.h"

static void print_list(FILE *out, const char *name, const struct words *words)
{
	fprintf(out, "\"%s\":[", name);
	for (size_t i = 0; i < words->count; i++) {
		if (i > 0)
			fputc(',', out);
		request_string(out, words->items[i]);
	}
	fputs("],", out);
}

static void print_optional(FILE *out, const char *name, const char *text)
{
	if (text == NULL)
		return;
	fprintf(out, "\"%s\":", name);
	request_string(out, text);
	fputc(',', out);
}

static void print_words(FILE *out, const struct exec *call)
{
	fputs(",\"words\":{", out);
	print_list(out, "args", &call->args);
	print_list(out, "env", &call->env);
	print_list(out, "groups", &call->groups);
	print_list(out, "capabilities", &call->capabilities);
	print_optional(out, "cwd", call->cwd);
	print_optional(out, "user", call->user);
	fprintf(out, "\"terminal\":%s,\"noNewPrivileges\":%s}", call->terminal ? "true" : "false",
		call->no_new_privileges ? "true" : "false");
}

static int ask(const struct exec *call)
{
	struct request request = request_open("exec");
	int keeper;

	fprintf(request.out, "\"console\":%s", call->console_socket == NULL ? "false" : "true");
	if (call->process == NULL) {
		print_words(request.out, call);
	} else {
		fputs(",\"process\":", request.out);
		request_file(request.out, call->process);
	}
	if (!state_enter(call->root, call->id))
		die("container does not exist");
	keeper = request_send(&request, "keeper");
	if (keeper < 0)
		die("container not running");
	return keeper;
}

// Passes signals on. Returns the exit code.
static int wait_for(pid_t pid)
{
	sigset_t all;
	int status;
	int number;

	sigfillset(&all);
	for (;;) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		number = sigwaitinfo(&all, NULL);
		if (number > 0 && number != SIGCHLD)
			kill(pid, number);
	}
}

static _Noreturn void give_up(pid_t pid, const char *text)
{
	kill(pid, SIGKILL);
	die("%s", text);
}

int exec_in(const struct exec *call)
{
	struct plan plan = { 0 };
	char pid_file[PATH_MAX];
	char line[MAX_LINE];
	int ready[2];
	int container;
	int keeper;
	pid_t pid;

	absolute_path(pid_file, call->pid_file);
	keeper = ask(call);
	if (!keeper_plan(keeper, &plan, line))
		die("%s", line);
	container = state_open("stub");
	if (container < 0)
		die("container not running");
	// The end of its first process ends all that are in the namespace.
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ready) != 0 || setns(container, CLONE_NEWPID) != 0)
		die("enter the container's pid namespace: %s", strerror(errno));
	block_signals();
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0) {
		close(ready[0]);
		exec_stub(&plan, call->console_socket, container, keeper, ready[1]);
	}
	close(ready[1]);
	if (!read_line(ready[0], line))
		give_up(pid, "container not running");
	if (line[0] != '\0')
		give_up(pid, line);
	send_line(keeper, "run\n");
	if (!keeper_line(keeper, line))
		give_up(pid, line);
	if (call->pid_file != NULL && !write_pid_file(pid_file, pid))
		give_up(pid, "cannot write the pid file");
	send_line(ready[0], "\n");
	close(keeper);
	return call->detach ? 0 : wait_for(pid);
}
