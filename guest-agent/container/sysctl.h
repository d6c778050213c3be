// Kernel parameters that the container is to start with.
#ifndef TSVM_SYSCTL_H
#define TSVM_SYSCTL_H

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Called in the container's namespaces, which some parameters belong to, while its /proc can be written.
bool sysctl_apply(const struct container_request *container, struct failure *failure);

#endif
