// The event loop. Its list of descriptors to wait for is made anew for each turn.
#ifndef TSVM_LOOP_H
#define TSVM_LOOP_H

#include <stdbool.h>

typedef void ready_function(void *owner, short events);

// Waits, in this turn, for `events` (poll's) on `fd`. Errors and hang-ups are always reported. `owner` must live until
// the turn is over. An earlier function of the same turn may have closed the descriptor before `ready` is called.
void loop_watch(int fd, short events, ready_function *ready, void *owner);

// Waits for at least one of the watched descriptors, calls their functions, and forgets them all. Returns false once the
// loop is stopped.
bool loop_turn(void);

// Ends the loop with this turn, and so the machine. `why` is logged unless it is NULL.
void loop_stop(const char *why);

bool loop_is_stopped(void);

#endif
