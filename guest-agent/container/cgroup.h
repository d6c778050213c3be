// The container's cgroup: its limits, and whether its processes were killed for memory.
#ifndef TSVM_CGROUP_H
#define TSVM_CGROUP_H

#include "protocol/failure.h"
#include "protocol/request.h"

// Makes the container's cgroup with these limits. Its directory's descriptor is for clone3(2) to start processes in it:
// to move a running one costs the kernel a grace period, about 10 ms.
bool cgroup_create(const struct limits_spec *limits, int *directory, struct failure *failure);

// True when a process of the container was killed for want of memory since the last call.
bool cgroup_oom_killed(void);

void cgroup_remove(void);

#endif
