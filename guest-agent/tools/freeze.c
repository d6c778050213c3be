// The tools that stop and continue all processes of one container.
#include <fcntl.h>
#include <unistd.h>

#include "base/files.h"
#include "container/freezer.h"

#include "tools/tool.h"

// Less than the host waits for a tool.
enum { TIMEOUT = 20000 };

// The link in the container's directory leads to its cgroup.
static int open_cgroup(void)
{
	return open("cgroup", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

// freeze: ends once all have stopped.
bool tool_freeze(char **arguments)
{
	int cgroup = open_cgroup();

	(void)arguments;
	return (cgroup >= 0 && freezer_freeze(cgroup, TIMEOUT)) || print_error("freeze");
}

bool tool_thaw(char **arguments)
{
	int cgroup = open_cgroup();

	(void)arguments;
	return (cgroup >= 0 && freezer_thaw(cgroup)) || print_error("thaw");
}
