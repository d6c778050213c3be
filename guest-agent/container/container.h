// The containers of the machine: a table of at most 64. A container is made without a process. Its
// first process is its process 1, which makes the namespaces and mounts. When that process ends,
// the kernel kills all others in its pid namespace.
#ifndef TSVM_CONTAINER_H
#define TSVM_CONTAINER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

enum container_state {
	CONTAINER_CREATED,  // without a process: the next one is its process 1
	CONTAINER_STARTING, // process 1 makes the mounts; no other can join yet
	CONTAINER_RUNNING,
	CONTAINER_ENDED, // can only be removed
};

struct container {
	uint32_t id; // 0: this place in the table is free
	enum container_state state;
	struct request request;               // the request that made it, which it owns
	const struct container_request *spec; // in `request`
	char directory[32];                   // what it is made of: see disk.h, rootfs.h
	char hostname[65];                    // of a clone, in place of the request's
	int cgroup;                           // its directory (O_PATH)
	unsigned long oom_kills;              // seen so far in the cgroup
	pid_t pid;                            // of process 1; 0 before and after
	int pidfd;                            // of process 1; -1 before and after
};

// Makes a container. On success the request belongs to the container, and `request` is empty.
bool container_create(struct request *request, struct failure *failure);

// Returns NULL, with a failure, if there is no container of that id.
struct container *container_find(uint32_t id, struct failure *failure);

// The containers one after the other: the first one after NULL, NULL after the last one.
struct container *container_next(struct container *container);

// Records that process 1 has ended.
void container_end(struct container *container);

// Unmounts the root of a container that has no processes, removes its cgroup and frees its id.
bool container_remove(struct container *container, struct failure *failure);

// Removes all containers, ignores failures, and writes the disks out.
void container_remove_all(void);

#endif
