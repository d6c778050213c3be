// What each part of the gauge stands on: its clock, and its end when a call fails.
#include "gauge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *gauge_operation;

uint64_t gauge_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

_Noreturn void gauge_fail(const char *what)
{
	if (gauge_operation != NULL)
		printf("%s failed: %s: %s\n", gauge_operation, what, strerror(errno));
	else
		fprintf(stderr, "tsvm-gauge: %s: %s\n", what, strerror(errno));
	exit(GAUGE_FAILED);
}
