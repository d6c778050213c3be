// A process 1 for containers whose program is not made to be one.
#ifndef TSVM_INIT_H
#define TSVM_INIT_H

#include <stdbool.h>
#include <sys/types.h>

#include "protocol/failure.h"

// Forks, in process 1 of the container: 0 in the child, which leads a process group of its own, in the foreground of the
// terminal if there is one; the child's pid in process 1; -1 with a failure.
pid_t init_fork(bool terminal, struct failure *failure);

// What process 1 does from then on: hands signals on, reaps, and exits as the program did.
_Noreturn void init_run(pid_t program);

#endif
