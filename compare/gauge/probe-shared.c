// What it shares with a neighbour: channels by which one learns of the other, and resources that one
// takes from the other. Nothing is taken: it looks whether a bound is there.
#include "probe.h"
#include "gauge.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

enum { READINGS = 1000, FINE_NS = 1000, ROOT = 0 };

static bool reads_line(const char *path, char *text, size_t size)
{
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return false;
	bool found = fgets(text, (int)size, file) != NULL;
	fclose(file);
	return found;
}

/** CPU 0 has a sibling that shares its caches and units. */
static bool sees_siblings(void)
{
	char text[64] = "";
	if (!reads_line("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", text, sizeof(text)))
		return false;
	errno = ENODEV;
	return strpbrk(text, ",-") != NULL;
}

/** Two readings of the clock that differ, and by so little that a miss of the cache shows. */
static bool has_fine_clock(void)
{
	uint64_t least = UINT64_MAX;
	for (int reading = 0; reading < READINGS; reading++) {
		uint64_t before = gauge_now();
		uint64_t after = gauge_now();
		if (after != before && after - before < least)
			least = after - before;
	}
	errno = ERANGE;
	return least < FINE_NS;
}

/** The kernel merges equal pages of all who ask for it, and a write to one that was merged is late. */
static bool merges_pages(void)
{
	char run[8] = "";
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	if (!reads_line("/sys/kernel/mm/ksm/run", run, sizeof(run)))
		return false;
	errno = ENODEV;
	if (run[0] != '1')
		return false;
	void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return false;
	bool merged = madvise(page, size, MADV_MERGEABLE) == 0;
	munmap(page, size);
	return merged;
}

/** Its root is the root of the kernel: what the kernel counts for each user, it counts together. */
static bool is_root_of_kernel(void)
{
	FILE *file = fopen("/proc/self/uid_map", "re");
	if (file == NULL)
		return false;
	unsigned inside = 1;
	unsigned outside = 1;
	bool found = fscanf(file, "%u %u", &inside, &outside) == 2;
	fclose(file);
	errno = EPERM;
	return found && inside == ROOT && outside == ROOT && geteuid() == ROOT;
}

static bool shares_watches(void)
{
	return is_root_of_kernel() && probe_close(inotify_init1(IN_CLOEXEC));
}

/** /dev/shm may take half of the memory, which is the kernel's default, or more. */
static bool has_large_shm(void)
{
	struct statvfs status;
	struct sysinfo system;
	if (statvfs("/dev/shm", &status) != 0 || sysinfo(&system) != 0)
		return false;
	errno = ENOSPC;
	uint64_t bytes = (uint64_t)status.f_blocks * status.f_frsize;
	return bytes >= (uint64_t)system.totalram * system.mem_unit / 2 - (1 << 20);
}

/** Saves itself from the end by lack of memory, at the cost of others. */
static bool escapes_lack_of_memory(void)
{
	int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	bool done = file >= 0 && write(file, "-1000", 5) == 5;
	int error = errno;
	probe_close(file);
	errno = error;
	return done;
}

static bool raises_limits(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_MSGQUEUE, &limit) != 0)
		return false;
	if (limit.rlim_max == RLIM_INFINITY)
		return true;
	limit.rlim_max++;
	return setrlimit(RLIMIT_MSGQUEUE, &limit) == 0;
}

/** No other process on a CPU runs before it. */
static bool raises_priority(void)
{
	return setpriority(PRIO_PROCESS, 0, -20) == 0;
}

void probe_shared(void)
{
	probe_tell("siblings", sees_siblings());
	probe_tell("fine-clock", has_fine_clock());
	probe_tell("merged-pages", merges_pages());
	probe_tell("vulnerabilities", probe_opens("/sys/devices/system/cpu/vulnerabilities/spectre_v2", O_RDONLY));
	probe_tell("users", is_root_of_kernel());
	probe_tell("watches", shares_watches());
	probe_tell("shared-memory", has_large_shm());
	probe_tell("lack-of-memory", probe_in_child(escapes_lack_of_memory));
	probe_tell("limits", probe_in_child(raises_limits));
	probe_tell("priority", probe_in_child(raises_priority));
}
