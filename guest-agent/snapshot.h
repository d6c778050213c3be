// A machine that is frozen, copied, and thawed: here, or wherever its copy runs. PROTOCOL.md,
// "Snapshots".
#ifndef TSVM_SNAPSHOT_H
#define TSVM_SNAPSHOT_H

#include <stdbool.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Freezes all containers and writes the disks out. After a failure, all run as before.
bool snapshot_freeze(const struct freeze_request *request, struct failure *failure);

// Makes the machine different as the request says, and then lets the containers run. After a failure
// they stay frozen for good.
bool snapshot_thaw(const struct thaw_request *request, struct failure *failure);

bool snapshot_is_frozen(void);

// Notes that the control connection was lost. Returns true if the machine can be a restored one: its
// containers are frozen. Thawing it then takes entropy, a clock and a generation.
bool snapshot_lose_host(void);

#endif
