// The control connection: takes requests, sends answers and events.
#ifndef TSVM_CONTROL_H
#define TSVM_CONTROL_H

#include <stdbool.h>
#include <time.h>

// Connects to the host and says hello. The agent started at `start` (CLOCK_MONOTONIC). Returns
// false if the host cannot be reached.
bool control_open(const struct timespec *start);

// Watches the connection for the coming turn of the loop.
void control_watch(void);

#endif
