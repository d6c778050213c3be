// Which devices the processes of a cgroup may open. Kernel documentation:
// admin-guide/cgroup-v2.rst, "Device controller".
#ifndef TSVM_DEVICE_RULES_H
#define TSVM_DEVICE_RULES_H

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Allows the cgroup the devices that every container has and those of the request, and no others.
// A privileged container has no rules.
bool device_rules_set(int cgroup, const struct container_request *container, struct failure *failure);

#endif
