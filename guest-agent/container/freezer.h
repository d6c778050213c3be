// Stops and continues all processes of a container: the freezer of its cgroup.
#ifndef TSVM_FREEZER_H
#define TSVM_FREEZER_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/failure.h"

// Freezes the processes of a cgroup (O_PATH), which run again after a failure. `timeout` is in
// milliseconds in which the machine runs: errno is ETIMEDOUT then.
bool freezer_freeze(int cgroup, uint64_t timeout);

bool freezer_thaw(int cgroup);

// Freezes all containers, or none: after a failure, those that had frozen run again. `timeout` is in
// milliseconds, for all of them together.
bool freezer_freeze_all(uint64_t timeout, struct failure *failure);

bool freezer_thaw_all(struct failure *failure);

#endif
