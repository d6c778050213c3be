// Forking into containers.
#ifndef TSVM_FORK_H
#define TSVM_FORK_H

#include "container/container.h"

// Forks process 1 of a container, in its cgroup and in a new pid namespace. Returns as fork(2)
// does.
pid_t fork_first(struct container *container);

// Forks a further process into the cgroup and pid namespace of a container that runs. Returns as
// fork(2) does.
pid_t fork_into(const struct container *container);

#endif
