// The container's device files.
#ifndef TSVM_DEVICES_H
#define TSVM_DEVICES_H

#include <stdbool.h>

#include <sys/stat.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Looks up a device of the machine, in the machine's /dev. A loop device that is missing is made.
bool devices_find(const char *path, struct stat *status, struct failure *failure);

// Makes devices and links in /dev of the container at `root`, and the devices of the request. /dev
// is a fresh tmpfs, so no name in it is the image's. A privileged container has all devices of the
// machine.
bool devices_make(int root, const struct container_request *container, struct failure *failure);

#endif
