// The container's cgroup. Kernel documentation: admin-guide/cgroup-v2.rst.
#include "container/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HIERARCHY "/sys/fs/cgroup"
// Begins the line of the unified hierarchy in /proc/PID/cgroup.
#define UNIFIED "0::"
// In the container's directory.
#define LINK "cgroup"

enum { PATH_SIZE = sizeof HIERARCHY + 32 };

static const char *const controllers[] = { "cpu", "memory", "pids", "io", "cpuset" };
static const uint64_t default_cpu_period = 100000;

static bool write_file(int directory, const char *path, const char *text)
{
	int file = openat(directory, path, O_WRONLY | O_CLOEXEC);
	bool written;

	if (file < 0)
		return false;
	written = write(file, text, strlen(text)) >= 0;
	close(file);
	return written;
}

// Stores a terminated text. It is empty if the file cannot be read.
static void read_file(int directory, const char *path, char *text, size_t size)
{
	int file = openat(directory, path, O_RDONLY | O_CLOEXEC);
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

	read_file(AT_FDCWD, HIERARCHY "/cgroup.controllers", available, sizeof available);
	for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++) {
		size_t used = strlen(wanted);

		if (has_word(available, controllers[i]))
			snprintf(wanted + used, sizeof wanted - used, "+%s ", controllers[i]);
	}
	if (wanted[0] != '\0' && !write_file(AT_FDCWD, HIERARCHY "/cgroup.subtree_control", wanted))
		return fail(failure, ERROR_SETUP_FAILED, errno, "enable cgroup controllers");
	return true;
}

static bool set_limit(int directory, const char *file, uint64_t limit, const char *text, struct failure *failure)
{
	return limit == 0 || write_file(directory, file, text) ||
	       fail(failure, ERROR_SETUP_FAILED, errno, "cgroup limit %s: %s", file, text);
}

static void path_of(uint32_t id, char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, HIERARCHY "/container-%u", id);
}

bool cgroup_create(uint32_t id, const struct limits_spec *limits, int *directory, struct failure *failure)
{
	uint64_t period = limits->cpu_period > 0 ? limits->cpu_period : default_cpu_period;
	char path[PATH_SIZE];
	char memory[32];
	char pids[32];
	char cpu[64];

	if (!enable_controllers(failure))
		return false;
	path_of(id, path);
	if (mkdir(path, 0755) != 0 && errno != EEXIST)
		return fail(failure, ERROR_SETUP_FAILED, errno, "mkdir %s", path);
	*directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*directory < 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "open %s", path);
	if (symlink(path, LINK) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "link to %s", path);
	snprintf(memory, sizeof memory, "%llu", (unsigned long long)limits->memory);
	snprintf(pids, sizeof pids, "%llu", (unsigned long long)limits->pids);
	snprintf(cpu, sizeof cpu, "%llu %llu", (unsigned long long)limits->cpu_quota, (unsigned long long)period);
	return set_limit(*directory, "memory.max", limits->memory, memory, failure) &&
	       set_limit(*directory, "pids.max", limits->pids, pids, failure) &&
	       set_limit(*directory, "cpu.max", limits->cpu_quota, cpu, failure);
}

int cgroup_of(pid_t pid)
{
	char name[64];
	char text[PATH_MAX];
	char path[sizeof HIERARCHY + sizeof text];
	const char *line;
	char *end;

	snprintf(name, sizeof name, "/proc/%d/cgroup", (int)pid);
	read_file(AT_FDCWD, name, text, sizeof text);
	line = strstr(text, UNIFIED); // a test's machine may have version 1 as well
	end = line != NULL ? strchr(line, '\n') : NULL;
	// Without the end of its line, the path is too long.
	if (end == NULL) {
		errno = ENAMETOOLONG;
		return -1;
	}
	*end = '\0';
	snprintf(path, sizeof path, HIERARCHY "%s", line + strlen(UNIFIED));
	return open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

bool cgroup_oom_killed(int directory, unsigned long *kills)
{
	char events[512];
	unsigned long before = *kills;
	const char *line;

	read_file(directory, "memory.events", events, sizeof events);
	line = strstr(events, "oom_kill ");
	if (line != NULL)
		*kills = strtoul(line + strlen("oom_kill "), NULL, 10);
	return *kills > before;
}

bool cgroup_is_populated(int events)
{
	char text[256];
	ssize_t count = pread(events, text, sizeof text - 1, 0);

	text[count > 0 ? count : 0] = '\0';
	return strstr(text, "populated 1\n") != NULL;
}

int cgroup_kill(int directory)
{
	int events = openat(directory, "cgroup.events", O_RDONLY | O_CLOEXEC);

	if (events >= 0 && (!write_file(directory, "cgroup.kill", "1") || !cgroup_is_populated(events))) {
		close(events);
		events = -1;
	}
	return events;
}

// Stores the name of a cgroup in `directory`, whose other entries are files. Returns false if there
// is none.
static bool find_inner(int directory, char name[NAME_MAX + 1])
{
	int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
	const struct dirent *entry;
	bool found = false;

	if (entries == NULL) {
		if (copy >= 0)
			close(copy);
		return false;
	}
	while (!found && (entry = readdir(entries)) != NULL) {
		found = entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
		if (found)
			strcpy(name, entry->d_name);
	}
	closedir(entries);
	return found;
}

// Removes one cgroup in `path` that has no others in it. It may be nested more deeply than
// descriptors could be open. Returns false if none can be removed.
static bool remove_innermost(const char *path)
{
	int outer = -1;
	int inner = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char removable[NAME_MAX + 1];
	char name[NAME_MAX + 1];
	bool removed;

	while (inner >= 0 && find_inner(inner, name)) {
		if (outer >= 0)
			close(outer);
		outer = inner;
		strcpy(removable, name);
		inner = openat(outer, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	removed = inner >= 0 && outer >= 0 && unlinkat(outer, removable, AT_REMOVEDIR) == 0;
	if (inner >= 0)
		close(inner);
	if (outer >= 0)
		close(outer);
	return removed;
}

// A privileged container may have made cgroups in its own.
void cgroup_remove(uint32_t id)
{
	char path[PATH_SIZE];

	path_of(id, path);
	while (rmdir(path) != 0 && remove_innermost(path))
		;
	unlink(LINK);
}
