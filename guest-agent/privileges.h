// What a process may do: resource limits, identity, capabilities.
#ifndef TSVM_PRIVILEGES_H
#define TSVM_PRIVILEGES_H

#include "failure.h"
#include "request.h"
#include "user.h"

bool privileges_set_rlimits(const struct process_spec *process, struct failure *failure);

// Gives up everything but what the process is to have. Root keeps the bounding set as its capabilities; another user
// has none, as after an execve(2).
bool privileges_drop(const struct process_spec *process, const struct user *user, struct failure *failure);

#endif
