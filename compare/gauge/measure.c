// The operations that are measured, and how: the number of turns doubles until they take long
// enough. So a level that is a thousand times slower is measured as well as a fast one.
#include "gauge.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/** The copy of this program that is executed: on a file system in memory, as no level's root is. */
static const char COPY[] = "/tmp/.tsvm-gauge";
/** The file that is opened and read is this program: it is in the root of each level. */
static const char SELF[] = "/proc/self/exe";
static char own_path[4096];

enum { BATCHES = 9 };

static volatile uint64_t result;

static void cpu(uint64_t turns)
{
	uint64_t state = 88172645463325252;
	for (uint64_t turn = 0; turn < turns * 1000; turn++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
	}
	result = state;
}

static void system_call(uint64_t turns)
{
	for (uint64_t turn = 0; turn < turns; turn++)
		syscall(SYS_getppid);
}

static void fork_exec(uint64_t turns)
{
	for (uint64_t turn = 0; turn < turns; turn++) {
		pid_t child = fork();
		if (child < 0)
			gauge_fail("fork");
		if (child == 0) {
			execl(COPY, COPY, "nothing", (char *)NULL);
			_exit(127);
		}
		int status;
		if (waitpid(child, &status, 0) != child)
			gauge_fail("waitpid");
		if (status != 0) {
			fputs("tsvm-gauge: the copy of the gauge in /tmp does not run\n", stderr);
			_exit(125);
		}
	}
}

static void open_close(uint64_t turns)
{
	for (uint64_t turn = 0; turn < turns; turn++) {
		int file = open(own_path, O_RDONLY | O_CLOEXEC);
		if (file < 0)
			gauge_fail(own_path);
		close(file);
	}
}

static void small_read(uint64_t turns)
{
	static int file = -1;
	if (file < 0)
		file = open(own_path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		gauge_fail(own_path);
	char bytes[512];
	for (uint64_t turn = 0; turn < turns; turn++) {
		off_t offset = (off_t)(turn % 16) * (off_t)sizeof(bytes);
		if (pread(file, bytes, sizeof(bytes), offset) != (ssize_t)sizeof(bytes))
			gauge_fail("pread");
	}
}

/** An operation whose cost is known: it checks the measure itself. */
static void sleep_10ms(uint64_t turns)
{
	struct timespec time = { .tv_nsec = 10000000 };
	for (uint64_t turn = 0; turn < turns; turn++)
		nanosleep(&time, NULL);
}

/** Copies this program to a file system in memory, so that no mount's speed counts. */
static void copy_self(void)
{
	static char bytes[65536];
	int from = open(SELF, O_RDONLY | O_CLOEXEC);
	int to = open(COPY, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	if (from < 0)
		gauge_fail(SELF);
	if (to < 0)
		gauge_fail(COPY);
	ssize_t count;
	while ((count = read(from, bytes, sizeof(bytes))) > 0)
		if (write(to, bytes, (size_t)count) != count)
			gauge_fail(COPY);
	if (count < 0 || fchmod(to, 0755) != 0)
		gauge_fail(COPY);
	close(from);
	close(to);
}

static const struct operation {
	const char *name;
	void (*turns)(uint64_t turns);
} OPERATIONS[] = {
	{ "cpu", cpu },         { "syscall", system_call }, { "exec", fork_exec },
	{ "open", open_close }, { "read", small_read },     { "sleep", sleep_10ms },
};

static int compare_doubles(const void *one, const void *other)
{
	double a = *(const double *)one;
	double b = *(const double *)other;
	return (a > b) - (a < b);
}

static uint64_t time_of(const struct operation *operation, uint64_t turns)
{
	uint64_t start = gauge_now();
	operation->turns(turns);
	return gauge_now() - start;
}

/**
 * Prints the nanoseconds of a turn: the median of some batches. A batch has so many turns that two of
 * them in a row have taken their share of the time: one may have waited for a CPU.
 */
int gauge_measure(const char *name, uint64_t least_ns)
{
	const struct operation *operation = NULL;
	for (size_t index = 0; index < sizeof(OPERATIONS) / sizeof(OPERATIONS[0]); index++)
		if (strcmp(OPERATIONS[index].name, name) == 0)
			operation = &OPERATIONS[index];
	if (operation == NULL) {
		fprintf(stderr, "tsvm-gauge: no operation is named %s\n", name);
		return 125;
	}
	if (strcmp(name, "exec") == 0)
		copy_self();
	ssize_t length = readlink(SELF, own_path, sizeof(own_path) - 1);
	if (length < 0) {
		gauge_fail(SELF);
	} else {
		own_path[length] = '\0';
	}
	// The first turn pays for what later ones find in caches.
	operation->turns(1);
	uint64_t turns = 1;
	while (time_of(operation, turns) < least_ns / BATCHES || time_of(operation, turns) < least_ns / BATCHES)
		turns *= 2;
	double found[BATCHES];
	for (int batch = 0; batch < BATCHES; batch++)
		found[batch] = (double)time_of(operation, turns) / (double)turns;
	qsort(found, BATCHES, sizeof(found[0]), compare_doubles);
	printf("%.3f\n", found[BATCHES / 2]);
	return 0;
}
