// The processes that the host asked for: starting, signalling, reaping.
#ifndef TSVM_PROCESS_H
#define TSVM_PROCESS_H

#include <stdint.h>

#include "protocol/failure.h"
#include "protocol/request.h"

// Makes the container and starts its first process; the answer to `request` comes when it runs or has failed.
bool process_start(uint16_t request, const struct start_request *start, struct failure *failure);

// Starts a process in the running container; answered likewise.
bool process_exec(uint16_t request, const struct process_spec *spec, struct failure *failure);

bool process_signal(const struct signal_request *signal, struct failure *failure);

bool process_resize(const struct resize_request *resize, struct failure *failure);

// Watches the processes for the coming turn of the loop, and forgets the ended ones.
void process_watch_all(void);

// Takes the status of all children that have ended.
void process_reap(void);

// Ends the container at once. Its kernel resources are gone when its process 1 is reaped.
void process_kill_container(void);

#endif
