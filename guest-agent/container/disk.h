// The container's root: the image's disk, the writable layer, and the overlay of both; or a folder
// of the host. Names are relative to the container's directory, which is the working directory of all functions.
#ifndef TSVM_DISK_H
#define TSVM_DISK_H

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Where the root is mounted, in the agent's mount namespace.
#define DISK_ROOT "root"
// The parts of the overlay.
#define DISK_IMAGE "image"
#define DISK_LAYER "layer"
#define DISK_UPPER DISK_LAYER "/upper"

bool disk_mount(const struct root_spec *root, struct failure *failure);

// Writes the writable layer out and undoes disk_mount(), so that a scratch disk is clean. If the
// layer is still in use, it becomes read-only, and this returns false.
bool disk_unmount(void);

#endif
