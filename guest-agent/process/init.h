// A process 1 for programs that cannot be one themselves.
#ifndef TSVM_INIT_H
#define TSVM_INIT_H

#include <stdbool.h>
#include <sys/types.h>

#include "protocol/failure.h"

// Forks in process 1 of the container. Returns 0 in the child, its pid in process 1, -1 with a
// failure. The child leads its own process group, in the foreground of the terminal if there is
// one.
pid_t init_fork(bool terminal, struct failure *failure);

// Runs process 1: forwards signals, reaps, and exits as the program did.
_Noreturn void init_run(pid_t program);

#endif
