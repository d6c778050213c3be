// The container's file system: mounts, devices, and the protected parts of /proc and /sys.
#ifndef TSVM_ROOTFS_H
#define TSVM_ROOTFS_H

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Writes the container's own /etc/hosts, hostname and resolv.conf into its directory, which is the
// working directory.
bool rootfs_write_files(const struct container_request *container, struct failure *failure);

// Writes them again, for a clone of the container.
bool rootfs_change_files(const struct identity_spec *identity, struct failure *failure);

// Removes them.
void rootfs_remove_files(void);

// Makes the /dev/shm of the containers in the machine's ipc namespace, if this is the first of
// them.
bool rootfs_share_memory(const struct container_request *container, struct failure *failure);

// Called in the container's directory and fresh namespaces: mounts everything on the overlay, makes
// the directory `cwd` if it is missing, and makes the overlay the root directory.
bool rootfs_enter(const struct container_request *container, const char *cwd, struct failure *failure);

// Protects /proc and /sys, and makes the root read-only if requested. This is the last step, after
// everything is written to the root.
bool rootfs_protect(const struct container_request *container, struct failure *failure);

#endif
