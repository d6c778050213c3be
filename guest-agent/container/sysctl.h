// Kernel parameters of the container.
#ifndef TSVM_SYSCTL_H
#define TSVM_SYSCTL_H

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Sets them. Called in the container's namespaces, which some parameters belong to, while /proc is
// still writable.
bool sysctl_apply(const struct container_request *container, struct failure *failure);

#endif
