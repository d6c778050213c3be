// Looks at what code inside of a level sees, and what it can reach. Nothing is changed or exploited.
#include "gauge.h"

#include <stdio.h>

int gauge_probe(const char *name)
{
	fprintf(stderr, "tsvm-gauge: no probe is named %s\n", name);
	return 125;
}
