// The call `create`.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "oci.h"

static struct options made_in;
static const char *made_id;

// Undoes a creation that failed, and dies.
static _Noreturn void give_up(const char *text)
{
	keeper_remove(made_in.root, made_id);
	die("%s", text);
}

// Waits until the stub has come one step further.
static void await_stub(int ready)
{
	char line[MAX_LINE];

	if (!read_line(ready, line))
		give_up("the container's process ended while it was made");
	if (line[0] != '\0')
		give_up(line);
}

// Has the keeper do its part, as the word says, while the stub waits.
static void ask_for_stub(int keeper, int ready, const char *word, pid_t pid)
{
	char line[MAX_LINE];

	await_stub(ready);
	send_line(keeper, "%s %d\n", word, (int)pid);
	if (!keeper_line(keeper, line))
		give_up(line);
	send_line(ready, "\n");
}

void create(const struct options *options, const struct create *create, const char *id)
{
	struct plan plan = { 0 };
	struct made made = { .id = id, .console = create->console_socket != NULL, .systemd = options->systemd };
	char bundle[PATH_MAX];
	char pid_file[PATH_MAX];
	char state[PATH_MAX];
	char line[MAX_LINE];
	int ready[2];
	int own;
	int keeper;
	pid_t pid;

	if (realpath(create->bundle, bundle) == NULL)
		die("bundle %s: %s", create->bundle, strerror(errno));
	absolute_path(pid_file, create->pid_file);
	state_make(options->root, id);
	made_in = *options;
	made_id = id;
	if (getcwd(state, sizeof state) == NULL)
		give_up("getcwd");
	made.state = state;
	made.bundle = bundle;
	keeper = keeper_start(&made);
	if (!keeper_plan(keeper, &plan, line))
		give_up(line);
	if (plan.join) {
		close(keeper);
		keeper = keeper_join(&made);
		if (keeper < 0)
			give_up("the machine of the network namespace has ended");
		plan = (struct plan){ 0 };
		if (!keeper_plan(keeper, &plan, line))
			give_up(line);
	}
	own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	if (own < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ready) != 0 || unshare(CLONE_NEWPID) != 0)
		give_up("cannot make a pid namespace");
	pid = fork();
	if (pid < 0)
		give_up("fork");
	if (pid == 0) {
		block_signals();
		close(keeper);
		close(ready[0]);
		stub(&plan, create->console_socket, ready[1]);
	}
	close(ready[1]);
	// Once the stub is dead, its namespace takes no other process.
	if (setns(own, CLONE_NEWPID) != 0)
		give_up("return to the pid namespace");
	state_write_process("stub", pid);
	if (plan.scope)
		ask_for_stub(keeper, ready[0], "scope", pid);
	if (plan.hooks)
		ask_for_stub(keeper, ready[0], "hooks", pid);
	await_stub(ready[0]);
	send_line(keeper, "created %d\n", (int)pid);
	if (!keeper_line(keeper, line))
		give_up(line);
	if (pid_file[0] != '\0' && !write_pid_file(pid_file, pid))
		give_up("cannot write the pid file");
}
