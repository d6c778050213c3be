// The tools: processes of the agent itself, so that an image needs no programs of its own. A tool
// starts like any process and has its own streams. PROTOCOL.md, "Tools".
#ifndef TSVM_TOOL_H
#define TSVM_TOOL_H

#include <stdbool.h>

struct tool {
	const char *name;
	bool (*run)(char **arguments); // gets the arguments after the name; false is exit code 1
	bool outside; // of the container's mounts: sees the writable layer by itself, and all processes
};

// NULL when there is no such tool.
const struct tool *tool_find(const char *name);

// Reports a missing or malformed argument on stderr. Returns false.
bool tool_bad_arguments(void);

bool tool_hold(char **arguments);
bool tool_kill(char **arguments);
bool tool_mount(char **arguments);
bool tool_archive(char **arguments);
bool tool_layer(char **arguments);
bool tool_extract(char **arguments);
bool tool_changes(char **arguments);
bool tool_stat(char **arguments);
bool tool_follow(char **arguments);
bool tool_list(char **arguments);
bool tool_read(char **arguments);
bool tool_write(char **arguments);
bool tool_watch(char **arguments);
bool tool_processes(char **arguments);
bool tool_statistics(char **arguments);
bool tool_limit(char **arguments);
bool tool_freeze(char **arguments);
bool tool_thaw(char **arguments);
bool tool_connect(char **arguments);
bool tool_listen(char **arguments);

#endif
