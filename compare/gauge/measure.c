// How an operation is measured: the number of turns doubles until they take long enough. So a level
// that is a thousand times slower is measured as well as a fast one.
#include "gauge.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCHES = 9, WORK_TURNS = 20 };
/** Nanoseconds between two looks for the file. */
enum { LOOK = 20000000 };

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

/** The process that measures, whose children do the operations. */
static pid_t measuring;

static const struct operation *find(const struct operation *among, size_t count, const char *name)
{
	for (size_t index = 0; index < count; index++)
		if (strcmp(among[index].name, name) == 0)
			return &among[index];
	return NULL;
}

/**
 * Prints the name and the nanoseconds of a turn: the median of some batches. A batch has so many turns
 * that two of them in a row have taken their share of the time: one may have waited for a CPU.
 */
static void measure(const struct operation *operation, uint64_t least_ns)
{
	// It would hold the streams of a gauge that was ended.
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != measuring)
		exit(1);
	if (operation->prepare != NULL)
		operation->prepare();
	// The first turn pays for what later ones find in caches.
	operation->turns(1);
	uint64_t turns = 1;
	while (time_of(operation, turns) < least_ns / BATCHES || time_of(operation, turns) < least_ns / BATCHES)
		turns *= 2;
	double found[BATCHES];
	for (int batch = 0; batch < BATCHES; batch++)
		found[batch] = (double)time_of(operation, turns) / (double)turns;
	qsort(found, BATCHES, sizeof(found[0]), compare_doubles);
	printf("%s %.3f\n", operation->name, found[BATCHES / 2]);
}

/** Prints `NAME failed: WHY` otherwise. What an operation needs goes with its process, and its failure leaves the others. */
static void measure_apart(const char *name, void (*act)(const struct operation *operation, uint64_t least_ns),
			  uint64_t least_ns)
{
	const struct operation *operation = find(GAUGE_OPERATIONS, GAUGE_OPERATION_COUNT, name);
	if (operation == NULL)
		operation = find(GAUGE_FILE_OPERATIONS, GAUGE_FILE_OPERATION_COUNT, name);
	if (operation == NULL)
		operation = find(GAUGE_TCP_OPERATIONS, GAUGE_TCP_OPERATION_COUNT, name);
	if (operation == NULL) {
		printf("%s failed: no operation has this name\n", name);
		return;
	}
	fflush(stdout);
	pid_t child = fork();
	if (child < 0)
		gauge_fail("fork");
	if (child == 0) {
		gauge_operation = name;
		act(operation, least_ns);
		exit(0);
	}
	int status;
	while (waitpid(child, &status, 0) != child)
		if (errno != EINTR)
			gauge_fail("waitpid");
	if (WIFSIGNALED(status))
		printf("%s failed: signal %d\n", name, WTERMSIG(status));
}

int gauge_measure(uint64_t least_ns, const char *folder, char **names)
{
	gauge_folder = folder;
	measuring = getpid();
	for (; *names != NULL; names++)
		measure_apart(*names, measure, least_ns);
	return 0;
}

static void work(const struct operation *operation, uint64_t least_ns)
{
	(void)least_ns;
	if (operation->prepare != NULL)
		operation->prepare();
	operation->turns(WORK_TURNS);
}

static const char *signal_in(const char *folder)
{
	static char path[4096];
	snprintf(path, sizeof(path), "%s/go", folder);
	return path;
}

int gauge_go(const char *folder)
{
	const char *path = signal_in(folder);
	int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0)
		gauge_fail(path);
	close(file);
	return 0;
}

_Noreturn void gauge_work(const char *folder, char **names)
{
	const char *path = signal_in(folder);
	struct timespec pause = { .tv_nsec = LOOK };
	gauge_folder = folder;
	for (int done = 1;; done++) {
		while (unlink(path) != 0)
			nanosleep(&pause, NULL);
		for (char **name = names; *name != NULL; name++)
			measure_apart(*name, work, 0);
		printf("done %d\n", done);
		fflush(stdout);
	}
}
