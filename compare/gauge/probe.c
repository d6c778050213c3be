// Looks at what code inside of a level sees, and which doors of the kernel are open to it. Nothing is
// exploited: each door is tried with a request that changes nothing, that the kernel refuses after it
// has looked for the right, or in a child whose end undoes it.
#include "probe.h"
#include "gauge.h"

int gauge_probe(char **words)
{
	const struct host host = { .pid = words[0], .port = words[1], .address = words[2], .name = words[3] };
	probe_sights(&host);
	probe_reach(&host);
	probe_changes();
	probe_doors();
	probe_shared();
	return 0;
}
