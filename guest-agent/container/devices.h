// The container's device files.
#ifndef TSVM_DEVICES_H
#define TSVM_DEVICES_H

#include <stdbool.h>

#include "protocol/failure.h"

// Makes devices and links in the /dev of the container at `root`, on which a tmpfs was just mounted: its names are ours
// alone. With `all`, those of the machine too.
bool devices_make(int root, bool all, struct failure *failure);

#endif
