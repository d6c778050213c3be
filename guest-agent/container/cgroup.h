// The container's cgroup: its limits, and whether the kernel killed processes for lack of memory.
#ifndef TSVM_CGROUP_H
#define TSVM_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Makes the cgroup of container `id` with these limits, and a link `cgroup` to it in the working
// directory. `directory` is for clone3(2), which starts processes in the cgroup. Moving a running
// process would cost a grace period of the kernel, about 10 ms.
bool cgroup_create(uint32_t id, const struct limits_spec *limits, int *directory, struct failure *failure);

// Returns the cgroup of a process, as `cgroup_create` stores one; -1 with errno if it cannot be
// opened.
int cgroup_of(pid_t pid);

// Returns true if the kernel killed a process of the cgroup for lack of memory since the last call.
// `kills` is the count so far.
bool cgroup_oom_killed(int directory, unsigned long *kills);

// Kills all processes of the cgroup, and of those in it. Returns a file that polls as POLLPRI when
// the last one may be gone; -1 if there is none, or none that can be killed.
int cgroup_kill(int directory);

// Returns true if processes of the cgroup are left, by the file of `cgroup_kill`.
bool cgroup_is_populated(int events);

// Removes the cgroup, the cgroups that the container made in it, and the link in the working
// directory.
void cgroup_remove(uint32_t id);

#endif
