// What the agent can do in a container by itself, so that nothing is asked of the image's own programs: started like any
// process, with streams of its own. PROTOCOL.md, "Tools".
#ifndef TSVM_TOOL_H
#define TSVM_TOOL_H

#include <dirent.h>
#include <stdbool.h>

struct tool {
	const char *name;
	bool (*run)(char **arguments); // those behind the name; exit code 1 if it returns false
	bool outside; // of the container's mounts: sees the writable layer by itself, and all processes
};

// NULL when there is no such tool.
const struct tool *tool_find(const char *name);

// Says on stderr what failed, with errno; returns false.
bool tool_fail(const char *what);

// The next entry of a directory other than "." and "..". NULL at the end, with errno 0, and on an error.
struct dirent *tool_next_entry(DIR *directory);

// Says on stderr that an argument is missing or wrong; returns false.
bool tool_bad_arguments(void);

bool tool_hold(char **arguments);
bool tool_archive(char **arguments);
bool tool_layer(char **arguments);
bool tool_extract(char **arguments);
bool tool_changes(char **arguments);
bool tool_stat(char **arguments);
bool tool_list(char **arguments);
bool tool_read(char **arguments);
bool tool_write(char **arguments);
bool tool_watch(char **arguments);
bool tool_processes(char **arguments);
bool tool_statistics(char **arguments);

#endif
