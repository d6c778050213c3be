// The event loop's list of what to wait for, made anew for each turn.
#ifndef TSVM_LOOP_H
#define TSVM_LOOP_H

typedef void ready_function(void *owner, short events);

// Waits, in this turn, for `events` (poll's) on `fd`; errors and hang-ups are always reported. `owner` must live until
// the turn is over, and the function must bear that an earlier one of the same turn has closed the descriptor.
void loop_watch(int fd, short events, ready_function *ready, void *owner);

// Waits for at least one of the watched, calls their functions, and forgets them all.
void loop_turn(void);

#endif
