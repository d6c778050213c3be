// What a process may do: resource limits, identity, capabilities, seccomp.
#ifndef TSVM_PRIVILEGES_H
#define TSVM_PRIVILEGES_H

#include "process/user.h"
#include "protocol/failure.h"
#include "protocol/protocol.h"

bool privileges_set_rlimits(const struct process_request *process, struct failure *failure);

// Drops all privileges but those of the process, and CAP_SYS_ADMIN if privileges_seal() needs it.
// Root keeps the bounding set as its capabilities. Other users have none, as after an execve(2).
bool privileges_drop(const struct process_request *process, const struct user *user, struct failure *failure);

// Installs the seccomp filter and drops CAP_SYS_ADMIN unless the process has it. From here on the
// filter applies: it has to allow execve(2) and, without no-new-privileges, capset(2).
bool privileges_seal(const struct process_request *process, const struct user *user, struct failure *failure);

// As privileges_seal(), but without the filter, for a process that executes nothing.
bool privileges_forgo(const struct process_request *process, const struct user *user, struct failure *failure);

#endif
