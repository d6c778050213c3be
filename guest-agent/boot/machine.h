// Setting the machine up as the host asks: clock, network, shared folders.
#ifndef TSVM_MACHINE_H
#define TSVM_MACHINE_H

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Where the virtio-fs device with the host's shared folders is mounted.
#define MACHINE_SHARES "/run/shares"

// Succeeds once.
bool machine_set_up(const struct machine_request *request, struct failure *failure);

// False before machine_set_up() has succeeded.
bool machine_is_set_up(void);

#endif
