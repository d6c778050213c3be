// The container's root: the image's disk, the writable layer, and the overlay of both.
#ifndef TSVM_DISK_H
#define TSVM_DISK_H

#include "protocol/failure.h"
#include "protocol/request.h"

// Where the overlay is mounted, in the agent's mount namespace.
#define DISK_ROOT "/run/root"
// What it is made of.
#define DISK_IMAGE "/run/image"
#define DISK_LAYER "/run/layer"
#define DISK_UPPER DISK_LAYER "/upper"

bool disk_mount(const struct root_spec *root, struct failure *failure);

// Unmounts what disk_mount() mounted, so that a scratch disk is clean; syncs all disks.
void disk_unmount(void);

#endif
