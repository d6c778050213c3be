// The event loop. Each turn has its own list of descriptors to wait for.
#ifndef TSVM_LOOP_H
#define TSVM_LOOP_H

#include <stdbool.h>

typedef void ready_function(void *owner, short events);

// Watches `fd` for `events` (of poll(2)) in this turn. Errors and hang-ups are always reported.
// `owner` must live until the turn is over. An earlier function of the same turn may have closed
// the descriptor before `ready` is called.
void loop_watch(int fd, short events, ready_function *ready, void *owner);

// Waits for at least one of the watched descriptors, calls their functions, and forgets them all.
// Returns false once the loop is stopped.
bool loop_turn(void);

// Ends the loop with this turn, and so the machine. `why` is logged unless it is NULL.
void loop_stop(const char *why);

bool loop_is_stopped(void);

#endif
