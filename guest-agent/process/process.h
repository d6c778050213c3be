// The processes that the host started.
#ifndef TSVM_PROCESS_H
#define TSVM_PROCESS_H

#include <stdint.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Starts a process in a container, as its process 1 if it is the first. On success, `request` is
// answered when the launch is over.
bool process_start(uint16_t request, const struct process_request *spec, struct failure *failure);

// Removes a container. Fails if a process runs in it.
bool process_remove_container(const struct remove_request *remove, struct failure *failure);

bool process_signal(const struct signal_request *signal, struct failure *failure);

bool process_resize(const struct resize_request *resize, struct failure *failure);

// Watches the launches for the coming turn of the loop, and frees the entries of ended processes.
void process_watch_all(void);

// Returns true while a process is being started, or a tool outside of the containers runs: one that a
// freezer does not hold.
bool process_is_any_loose(void);

size_t process_count_running(void);

// Sends a `running` frame for each of them.
void process_report_running(void);

// Reaps all children that have ended.
void process_reap(void);

// Kills all processes. The kernel frees a container's namespaces before its process 1 can be
// reaped.
void process_kill_all(void);

#endif
