// Kernel parameters that the container is to start with.
#ifndef TSVM_SYSCTL_H
#define TSVM_SYSCTL_H

#include "protocol/failure.h"
#include "protocol/request.h"

// Called in the container's namespaces, which some parameters belong to, while its /proc can be written.
bool sysctl_apply(const struct start_request *start, struct failure *failure);

#endif
