// What it sees of the host: values that the host compares with its own, and files of the kernel that
// tell of all that runs on it (Gao et al., ContainerLeaks, DSN 2017).
#include "probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { SYSLOG_READ_ALL = 3 };

/** Returns true if a line of the file has the text. `rest` gets what follows it in the line. */
static bool finds(const char *path, const char *text, char *rest, size_t size)
{
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return false;
	char line[4096];
	const char *found = NULL;
	while (found == NULL && fgets(line, sizeof(line), file) != NULL)
		found = strstr(line, text);
	fclose(file);
	errno = ENOENT;
	if (found != NULL && rest != NULL) {
		found += strlen(text);
		snprintf(rest, size, "%.*s", (int)strcspn(found, "\n"), found);
	}
	return found != NULL;
}

/** A value of a file: what follows a text in a line. */
static void tell_word(const char *name, const char *path, const char *text)
{
	char value[256] = "";
	finds(path, text, value, sizeof(value));
	probe_tell_value(name, value);
}

/** Returns true if the file opens and has something to say. */
static bool has_bytes(const char *path)
{
	char byte;
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file < 0)
		return false;
	errno = ENODATA;
	ssize_t count = read(file, &byte, 1);
	close(file);
	return count == 1;
}

/** Addresses of the kernel that are not hidden as zeros. */
static bool sees_symbols(void)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	if (file == NULL)
		return false;
	unsigned long long address = 0;
	bool found = false;
	for (int line = 0; line < 64 && !found && fscanf(file, "%llx %*[^\n]", &address) == 1; line++)
		found = address != 0;
	fclose(file);
	errno = EPERM;
	return found;
}

static bool reads_log(void)
{
	char text[64];
	return klogctl(SYSLOG_READ_ALL, text, sizeof(text)) >= 0;
}

/** Energy of the processor tells what a neighbour computes. */
static bool reads_power(void)
{
	return has_bytes("/sys/class/powercap/intel-rapl:0/energy_uj");
}

static bool lists_cgroups(void)
{
	static const char *const PATHS[] = { "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/cgroup.procs",
					     "/sys/fs/cgroup/unified/cgroup.procs" };
	for (size_t index = 0; index < sizeof(PATHS) / sizeof(PATHS[0]); index++)
		if (probe_opens(PATHS[index], O_RDONLY))
			return true;
	return false;
}

void probe_sights(const struct host *host)
{
	struct utsname names;
	uname(&names);
	probe_tell_value("release", names.release);
	probe_tell_value("hostname", names.nodename);
	probe_tell_file("boot", "/proc/sys/kernel/random/boot_id");
	struct sysinfo system;
	char bytes[32] = "";
	if (sysinfo(&system) == 0)
		snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)system.totalram * system.mem_unit);
	probe_tell_value("memory", bytes);
	tell_word("cpu-model", "/proc/cpuinfo", "model name\t: ");
	probe_tell_file("cpus", "/sys/devices/system/cpu/present");
	tell_word("boot-time", "/proc/stat", "btime ");
	probe_tell_file("command-line", "/proc/cmdline");
	probe_tell_file("product", "/sys/class/dmi/id/product_name");
	probe_tell_file("machine-id", "/etc/machine-id");
	char path[64];
	snprintf(path, sizeof(path), "/proc/%s/comm", host->pid);
	probe_tell_file("process", path);
	probe_tell("paths", finds("/proc/self/mountinfo", host->name, NULL, 0));
	probe_tell("log", reads_log());
	probe_tell("symbols", sees_symbols());
	probe_tell("module-list", has_bytes("/proc/modules"));
	probe_tell("interrupts", has_bytes("/proc/interrupts"));
	probe_tell("timers", has_bytes("/proc/timer_list"));
	probe_tell("scheduler", has_bytes("/sys/kernel/debug/sched/debug") || has_bytes("/proc/sched_debug"));
	probe_tell("disk-statistics", has_bytes("/proc/diskstats"));
	probe_tell("keys", has_bytes("/proc/keys"));
	probe_tell("cgroups", lists_cgroups());
	probe_tell("power", reads_power());
}
