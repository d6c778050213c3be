// The mounts that the host asks for: tmpfs, and folders and files of the host's.
#ifndef TSVM_MOUNTS_H
#define TSVM_MOUNTS_H

#include <stdbool.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Called in the container's fresh mount namespace: mounts them all on the overlay, whose descriptor is `root`.
bool mounts_make(int root, const struct container_request *container, struct failure *failure);

#endif
