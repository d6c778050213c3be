// Tools that report on the container: its processes and its resource use.
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "container/disk.h"
#include "base/files.h"
#include "tools/tool.h"

enum {
	TEXT_SIZE = 8192,
	PROC_PATH_SIZE = NAME_MAX + 32,
};

// Reads a whole small file into `text`. Returns its length, or 0 if there is no file.
static size_t read_text(const char *path, char *text, size_t size)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;

	while (file >= 0 && length < size - 1) {
		ssize_t count = read(file, text + length, size - 1 - length);

		if (count <= 0)
			break;
		length += (size_t)count;
	}
	if (file >= 0)
		close(file);
	text[length] = '\0';
	return length;
}

static unsigned uid_of(const char *folder)
{
	struct stat status;

	return stat(folder, &status) == 0 ? status.st_uid : 0;
}

// Prints uid, pid, parent's pid, start and CPU time in clock ticks (100 a second), terminal's
// device and command. Ends with a NUL.
static void print_process(const char *pid)
{
	static char command[TEXT_SIZE];
	static char stat_line[TEXT_SIZE];
	char path[PROC_PATH_SIZE];
	char *fields;
	size_t length;
	int parent = 0;
	int terminal = 0;
	unsigned long user = 0;
	unsigned long system = 0;
	unsigned long long start = 0;

	snprintf(path, sizeof path, "/proc/%s/stat", pid);
	if (read_text(path, stat_line, sizeof stat_line) == 0)
		return;
	// The name in parentheses may have any character in it.
	fields = strrchr(stat_line, ')');
	if (fields == NULL ||
	    sscanf(fields + 1, " %*c %d %*d %*d %d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %llu",
		   &parent, &terminal, &user, &system, &start) != 5)
		return;
	snprintf(path, sizeof path, "/proc/%s/cmdline", pid);
	length = read_text(path, command, sizeof command);
	for (size_t i = 0; i + 1 < length; i++) {
		if (command[i] == '\0')
			command[i] = ' ';
	}
	if (length == 0) {
		char *name = strchr(stat_line, '(');

		fields[1] = '\0';
		snprintf(command, sizeof command, "[%.*s]", (int)(fields - name - 1), name + 1);
	}
	snprintf(path, sizeof path, "/proc/%s", pid);
	printf("%u %s %d %llu %lu %d %s%c", uid_of(path), pid, parent, start, user + system, terminal, command, '\0');
}

// Returns true if the process is in this cgroup or in one below it.
static bool is_in_cgroup(const char *pid, const char *name)
{
	static char text[TEXT_SIZE];
	char path[PROC_PATH_SIZE];
	size_t length = strlen(name);
	const char *line;

	snprintf(path, sizeof path, "/proc/%s/cgroup", pid);
	if (read_text(path, text, sizeof text) == 0)
		return false;
	line = strstr(text, "0::"); // cgroup v2; a test's machine may have v1 as well
	return line != NULL && strncmp(line + 3, name, length) == 0 &&
	       (line[3 + length] == '/' || line[3 + length] == '\n');
}

// processes: those in the container's cgroup.
bool tool_processes(char **arguments)
{
	char link[PATH_MAX] = "";
	const char *cgroup;
	DIR *entries = opendir("/proc");

	(void)arguments;
	if (entries == NULL || readlink("cgroup", link, sizeof link - 1) < 0)
		return print_error("/proc");
	cgroup = strrchr(link, '/');
	for (struct dirent *entry; cgroup != NULL && (entry = readdir(entries)) != NULL;) {
		if (isdigit((unsigned char)entry->d_name[0]) && is_in_cgroup(entry->d_name, cgroup))
			print_process(entry->d_name);
	}
	closedir(entries);
	return fflush(stdout) == 0 || print_error("write");
}

static void print_file(const char *name, const char *path)
{
	static char text[TEXT_SIZE];

	read_text(path, text, sizeof text);
	printf("%s%c%s%c", name, '\0', text, '\0');
}

// statistics: prints names and contents of files of the kernel, each ended by a NUL, and the used
// and total bytes of the writable layer.
bool tool_statistics(char **arguments)
{
	struct statvfs layer;

	(void)arguments;
	print_file("cpu.stat", "cgroup/cpu.stat");
	print_file("memory.current", "cgroup/memory.current");
	print_file("memory.max", "cgroup/memory.max");
	print_file("memory.stat", "cgroup/memory.stat");
	print_file("memory.peak", "cgroup/memory.peak");
	print_file("memory.events", "cgroup/memory.events");
	print_file("pids.current", "cgroup/pids.current");
	print_file("pids.max", "cgroup/pids.max");
	print_file("io.stat", "cgroup/io.stat");
	print_file("meminfo", "/proc/meminfo");
	print_file("net/dev", "/proc/net/dev");
	if (statvfs(DISK_LAYER, &layer) == 0)
		printf("layer%c%llu %llu%c", '\0',
		       (unsigned long long)(layer.f_blocks - layer.f_bfree) * layer.f_frsize,
		       (unsigned long long)layer.f_blocks * layer.f_frsize, '\0');
	return fflush(stdout) == 0 || print_error("write");
}
