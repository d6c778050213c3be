// The launch of a process: from fork to execve(2), with reports to the agent.
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
	int status;     // socket (SOCK_SEQPACKET, close-on-exec) for the messages below
};

enum launch_stage {
	LAUNCH_TERMINAL, // carries the terminal's master
	LAUNCH_READY,    // only execve(2) is left; it succeeded unless a failure follows
	LAUNCH_FAILED,
};

struct launch_message {
	enum launch_stage stage;
	struct failure failure;
};

// Runs in the child. Becomes the process, or reports a failure and exits.
_Noreturn void launch(const struct launch *launch);

// Receives a message that has arrived. `master` is -1 unless the message carries one. Returns false
// if there is none: the sender has executed its program or died.
bool launch_receive(int status, struct launch_message *message, int *master);

#endif
