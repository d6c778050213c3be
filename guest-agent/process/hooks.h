// Programs of a container that run before its own program does.
#ifndef TSVM_HOOKS_H
#define TSVM_HOOKS_H

#include <stdbool.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Runs the hooks of a process one after the other, in the process that becomes the program: as its
// user, with its privileges.
bool hooks_run(const struct process_request *process, struct failure *failure);

#endif
