// The container's cgroup: its limits, and whether its processes were killed for memory.
#ifndef TSVM_CGROUP_H
#define TSVM_CGROUP_H

#include "failure.h"
#include "request.h"

// Makes the container's cgroup with these limits.
bool cgroup_create(const struct limits_spec *limits, struct failure *failure);

// Moves the calling process into it.
bool cgroup_enter(struct failure *failure);

// True when a process of the container was killed for want of memory since the last call.
bool cgroup_oom_killed(void);

void cgroup_remove(void);

#endif
