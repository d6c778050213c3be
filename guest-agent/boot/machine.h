// Setting the machine up. PROTOCOL.md, "machine".
#ifndef TSVM_MACHINE_H
#define TSVM_MACHINE_H

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Where the virtio-fs device with the host's shared folders is mounted.
#define MACHINE_SHARES "/run/shares"

// Sets the wall clock, microseconds since the epoch; 0: leaves it alone. Returns false, with errno,
// on failure.
bool machine_set_clock(uint64_t microseconds);

// Carries the request out. It can succeed only once.
bool machine_set_up(const struct machine_request *request, struct failure *failure);

// Returns false before machine_set_up() has succeeded.
bool machine_is_set_up(void);

#endif
