// The container's cgroup. cgroup-v2.rst of the kernel's documentation.
#include "container/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HIERARCHY "/sys/fs/cgroup"
#define CONTAINER HIERARCHY "/container"

static const char *const controllers[] = { "cpu", "memory", "pids", "io", "cpuset" };
static const uint64_t default_cpu_period = 100000;

static unsigned long oom_kills;

static bool write_file(const char *path, const char *text)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);
	bool written;

	if (file < 0)
		return false;
	written = write(file, text, strlen(text)) >= 0;
	close(file);
	return written;
}

// Stores a terminated text; empty when the file cannot be read.
static void read_file(const char *path, char *text, size_t size)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t count = file >= 0 ? read(file, text, size - 1) : 0;

	text[count > 0 ? count : 0] = '\0';
	if (file >= 0)
		close(file);
}

static bool has_word(const char *text, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = text; (at = strstr(at, word)) != NULL; at += length) {
		if ((at == text || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\n' || at[length] == '\0'))
			return true;
	}
	return false;
}

static bool enable_controllers(struct failure *failure)
{
	char available[256];
	char wanted[128] = "";

	read_file(HIERARCHY "/cgroup.controllers", available, sizeof available);
	for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++) {
		size_t used = strlen(wanted);

		if (has_word(available, controllers[i]))
			snprintf(wanted + used, sizeof wanted - used, "+%s ", controllers[i]);
	}
	if (wanted[0] != '\0' && !write_file(HIERARCHY "/cgroup.subtree_control", wanted))
		return fail(failure, ERROR_SETUP_FAILED, errno, "enable cgroup controllers");
	return true;
}

static bool set_limit(const char *name, uint64_t value, const char *file, const char *text, struct failure *failure)
{
	char path[128];

	if (value == 0)
		return true;
	snprintf(path, sizeof path, CONTAINER "/%s", file);
	return write_file(path, text) || fail(failure, ERROR_SETUP_FAILED, errno, "%s limit %s", name, text);
}

bool cgroup_create(const struct limits_spec *limits, int *directory, struct failure *failure)
{
	uint64_t period = limits->cpu_period > 0 ? limits->cpu_period : default_cpu_period;
	char memory[32];
	char pids[32];
	char cpu[64];

	if (!enable_controllers(failure))
		return false;
	if (mkdir(CONTAINER, 0755) != 0 && errno != EEXIST)
		return fail(failure, ERROR_SETUP_FAILED, errno, "mkdir " CONTAINER);
	*directory = open(CONTAINER, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*directory < 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "open " CONTAINER);
	snprintf(memory, sizeof memory, "%llu", (unsigned long long)limits->memory);
	snprintf(pids, sizeof pids, "%llu", (unsigned long long)limits->pids);
	snprintf(cpu, sizeof cpu, "%llu %llu", (unsigned long long)limits->cpu_quota, (unsigned long long)period);
	return set_limit("memory", limits->memory, "memory.max", memory, failure) &&
	       set_limit("pids", limits->pids, "pids.max", pids, failure) &&
	       set_limit("cpu", limits->cpu_quota, "cpu.max", cpu, failure);
}

bool cgroup_oom_killed(void)
{
	char events[512];
	unsigned long before = oom_kills;
	const char *line;

	read_file(CONTAINER "/memory.events", events, sizeof events);
	line = strstr(events, "oom_kill ");
	if (line != NULL)
		oom_kills = strtoul(line + strlen("oom_kill "), NULL, 10);
	return oom_kills > before;
}

void cgroup_remove(void)
{
	rmdir(CONTAINER);
}
