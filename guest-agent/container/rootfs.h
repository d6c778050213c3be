// The container's view of files: its mounts, devices, and the parts of /proc and /sys it must not touch.
#ifndef TSVM_ROOTFS_H
#define TSVM_ROOTFS_H

#include "protocol/failure.h"
#include "protocol/request.h"

// Writes the container's own /etc/hosts, hostname and resolv.conf where rootfs_enter() takes them from.
bool rootfs_write_files(const struct start_request *start, struct failure *failure);

// Called in the container's fresh namespaces: mounts all on the overlay and makes it the root directory.
bool rootfs_enter(const struct start_request *start, struct failure *failure);

// The last steps, once all that must be written to the root is: protects /proc and /sys, and a read-only root.
bool rootfs_protect(const struct start_request *start, struct failure *failure);

#endif
