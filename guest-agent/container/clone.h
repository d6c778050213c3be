// Makes the containers of a copied machine different from their originals, while they are frozen.
#ifndef TSVM_CLONE_H
#define TSVM_CLONE_H

#include "container/container.h"

// Shows all containers the machine's generation.
bool clone_write_generation(struct failure *failure);

// Gives a container another host name and machine-id, and the boot_id that was set. Its processes
// keep what they have read.
bool clone_change(struct container *container, const struct identity_spec *identity, struct failure *failure);

#endif
