// Files in the machine's memory, for what must not be on a disk.
#ifndef TSVM_SECRETS_H
#define TSVM_SECRETS_H

#include <stdbool.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Mounts a read-only tmpfs with the secrets of the request, if it has any, over all other mounts.
// Called in the container's fresh mount namespace.
bool secrets_mount(int root, const struct container_request *container, struct failure *failure);

#endif
