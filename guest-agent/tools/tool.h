// What the agent can do in a container by itself, so that nothing is asked of the image's own programs: started like any
// process, with streams of its own. PROTOCOL.md, "Tools".
#ifndef TSVM_TOOL_H
#define TSVM_TOOL_H

#include <stdbool.h>

struct tool {
	const char *name;
	int (*run)(char **arguments); // those behind the name; returns the exit code
	bool outside;                 // of the container's mounts: sees the writable layer by itself, and all processes
};

// NULL when there is no such tool.
const struct tool *tool_find(const char *name);

// Says on stderr what failed, with errno; returns 1.
int tool_fail(const char *what);

int tool_hold(char **arguments);
int tool_archive(char **arguments);
int tool_layer(char **arguments);
int tool_extract(char **arguments);
int tool_changes(char **arguments);
int tool_stat(char **arguments);
int tool_list(char **arguments);
int tool_read(char **arguments);
int tool_write(char **arguments);
int tool_watch(char **arguments);
int tool_processes(char **arguments);
int tool_statistics(char **arguments);

#endif
