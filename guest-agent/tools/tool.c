// The tools by name.
#include "tools/tool.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct tool tools[] = {
	{ "hold", tool_hold, false },
	{ "archive", tool_archive, false },
	{ "layer", tool_layer, true },
	{ "extract", tool_extract, false },
	{ "changes", tool_changes, true },
	{ "stat", tool_stat, false },
	{ "follow", tool_follow, false },
	{ "list", tool_list, false },
	{ "read", tool_read, false },
	{ "write", tool_write, false },
	{ "watch", tool_watch, false },
	{ "processes", tool_processes, true },
	{ "statistics", tool_statistics, true },
};

const struct tool *tool_find(const char *name)
{
	for (size_t i = 0; i < sizeof tools / sizeof *tools; i++) {
		if (strcmp(tools[i].name, name) == 0)
			return &tools[i];
	}
	return NULL;
}

bool tool_fail(const char *what)
{
	dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(errno));
	return false;
}

struct dirent *tool_next_entry(DIR *directory)
{
	struct dirent *entry;

	do {
		errno = 0;
		entry = readdir(directory);
	} while (entry != NULL && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
	return entry;
}

bool tool_bad_arguments(void)
{
	errno = EINVAL;
	return tool_fail("arguments");
}

// hold: process 1 of a container without a program. Never ends, and reaps orphans.
bool tool_hold(char **arguments)
{
	(void)arguments;
	for (;;) {
		if (wait(NULL) < 0)
			pause();
	}
}
