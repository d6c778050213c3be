// The mounts of the request: tmpfs, and folders and files of the host.
#ifndef TSVM_MOUNTS_H
#define TSVM_MOUNTS_H

#include <stdbool.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Mounts them all on the overlay, whose descriptor is `root`. Called in the container's fresh mount
// namespace.
bool mounts_make(int root, const struct container_request *container, struct failure *failure);

#endif
