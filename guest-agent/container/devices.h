// The container's device files.
#ifndef TSVM_DEVICES_H
#define TSVM_DEVICES_H

#include <stdbool.h>

#include "protocol/failure.h"

// Makes devices and links in /dev of the container at `root`. /dev is a fresh tmpfs, so no name in
// it is the image's. `all` adds the devices of the machine.
bool devices_make(int root, bool all, struct failure *failure);

#endif
