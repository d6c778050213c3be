// The way of a new process, from the agent's fork(2) to its execve(2), and what it reports on the way.
#ifndef TSVM_LAUNCH_H
#define TSVM_LAUNCH_H

#include "container/container.h"
#include "protocol/failure.h"
#include "protocol/protocol.h"

struct launch {
	const struct process_request *process;
	const struct container *container;
	bool first;     // process 1, which makes the container's namespaces and mounts; others join them
	int streams[3]; // the process's ends of its pipes; -1: /dev/null, or the terminal
	int status;     // SOCK_SEQPACKET, close-on-exec: where the messages below go
};

enum launch_stage {
	LAUNCH_TERMINAL, // carries the terminal's master
	LAUNCH_READY,    // only execve(2) is left; without a failure after it, it succeeded
	LAUNCH_FAILED,
};

struct launch_message {
	enum launch_stage stage;
	struct failure failure;
};

// Runs in the child. Returns to nobody: becomes the process, or reports a failure and exits.
_Noreturn void launch(const struct launch *launch);

// Takes a message; `master` is -1 unless one came. False when there is none: the sender executed or died.
bool launch_receive(int status, struct launch_message *message, int *master);

#endif
