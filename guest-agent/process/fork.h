// Forking into containers.
#ifndef TSVM_FORK_H
#define TSVM_FORK_H

#include "container/container.h"

// Forks the first process of a container, in its cgroup: in a new pid namespace, or in that of
// another container, which runs. Returns as fork(2) does.
pid_t fork_first(struct container *container, const struct container *joined);

// Forks a further process into the cgroup and pid namespace of a container that runs. Returns as
// fork(2) does.
pid_t fork_into(const struct container *container);

#endif
