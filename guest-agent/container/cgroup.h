// The container's cgroup: its limits, and whether its processes were killed for memory.
#ifndef TSVM_CGROUP_H
#define TSVM_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Makes the cgroup of container `id` with these limits, and a link `cgroup` to it in the working directory. Processes are
// started in it through its directory's descriptor, by clone3(2): to move a running one costs the kernel a grace period,
// about 10 ms.
bool cgroup_create(uint32_t id, const struct limits_spec *limits, int *directory, struct failure *failure);

// True if the kernel killed a process of the cgroup for lack of memory since the last call. `kills` counts them.
bool cgroup_oom_killed(int directory, unsigned long *kills);

// Removes the cgroup, those that the container has made in it, and the link in the working directory.
void cgroup_remove(uint32_t id);

#endif
