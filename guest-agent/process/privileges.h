// What a process may do: resource limits, identity, capabilities.
#ifndef TSVM_PRIVILEGES_H
#define TSVM_PRIVILEGES_H

#include "process/user.h"
#include "protocol/failure.h"
#include "protocol/protocol.h"

bool privileges_set_rlimits(const struct process_request *process, struct failure *failure);

// Gives up everything but what the process is to have, and CAP_SYS_ADMIN where privileges_seal() needs it. Root keeps
// the bounding set as its capabilities; another user has none, as after an execve(2).
bool privileges_drop(const struct process_request *process, const struct user *user, struct failure *failure);

// The last of it: the seccomp filter, and no more CAP_SYS_ADMIN than the process is to have. From here on the filter
// decides which system calls there are; it has to let capset(2), unless with no-new-privileges, and execve(2) pass.
bool privileges_seal(const struct process_request *process, const struct user *user, struct failure *failure);

// As privileges_seal() for a process that executes nothing: no filter.
bool privileges_forgo(const struct process_request *process, const struct user *user, struct failure *failure);

#endif
