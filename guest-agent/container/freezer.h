// Stops and continues all processes of a container: the freezer of its cgroup.
#ifndef TSVM_FREEZER_H
#define TSVM_FREEZER_H

#include <stdint.h>

#include "container/container.h"

// Freezes all containers, or none: after a failure, those that had frozen run again. `timeout` is in
// milliseconds, for all of them together.
bool freezer_freeze_all(uint64_t timeout, struct failure *failure);

bool freezer_thaw_all(struct failure *failure);

#endif
