// The processes that the host asked for: starting, signalling, reaping.
#ifndef TSVM_PROCESS_H
#define TSVM_PROCESS_H

#include <stdint.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Starts a process in a container, as its process 1 if it is the first. The answer to `request` comes when the process
// runs or has failed.
bool process_start(uint16_t request, const struct process_request *spec, struct failure *failure);

// Removes a container that no process runs in.
bool process_remove_container(const struct remove_request *remove, struct failure *failure);

bool process_signal(const struct signal_request *signal, struct failure *failure);

bool process_resize(const struct resize_request *resize, struct failure *failure);

// Watches the processes for the coming turn of the loop, and forgets the ended ones.
void process_watch_all(void);

// Takes the status of all children that have ended.
void process_reap(void);

// Kills all processes. The kernel resources of a container are gone when its process 1 is reaped.
void process_kill_all(void);

#endif
