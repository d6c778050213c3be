// The tools by name.
#include "tools/tool.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/files.h"

static const struct tool tools[] = {
	{ "hold", tool_hold, false },          { "kill", tool_kill, false },
	{ "archive", tool_archive, false },    { "layer", tool_layer, true },
	{ "extract", tool_extract, false },    { "changes", tool_changes, true },
	{ "stat", tool_stat, false },          { "follow", tool_follow, false },
	{ "list", tool_list, false },          { "read", tool_read, false },
	{ "write", tool_write, false },        { "watch", tool_watch, false },
	{ "processes", tool_processes, true }, { "statistics", tool_statistics, true },
	{ "mount", tool_mount, false },        { "limit", tool_limit, true },
	{ "freeze", tool_freeze, true },       { "thaw", tool_thaw, true },
	{ "connect", tool_connect, false },    { "listen", tool_listen, false },
};

const struct tool *tool_find(const char *name)
{
	for (size_t i = 0; i < sizeof tools / sizeof *tools; i++) {
		if (strcmp(tools[i].name, name) == 0)
			return &tools[i];
	}
	return NULL;
}

bool tool_bad_arguments(void)
{
	errno = EINVAL;
	return print_error("arguments");
}

// hold: process 1 of a container without a program. Never ends. The kernel reaps its orphans, because
// it ignores SIGCHLD (wait(2), "NOTES"), but not those that ended before: others may start processes
// before its first step.
bool tool_hold(char **arguments)
{
	(void)arguments;
	signal(SIGCHLD, SIG_IGN);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	for (;;)
		pause();
}

// kill: ends all processes of the container but process 1, and waits until they are gone. A process
// that is killed cannot fork, so the first signal reaches all that there will be.
bool tool_kill(char **arguments)
{
	const struct timespec moment = { .tv_nsec = 2000000 };

	(void)arguments;
	while (kill(-1, SIGKILL) == 0)
		nanosleep(&moment, NULL);
	return errno == ESRCH || print_error("kill");
}
