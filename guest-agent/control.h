// The control connection: requests in, answers and events out.
#ifndef TSVM_CONTROL_H
#define TSVM_CONTROL_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

// Connects to the host and says hello; the agent started at `start` (CLOCK_MONOTONIC). Without a host there is nothing to
// do: the machine stops.
void control_open(const struct timespec *start);

// Queues a frame. The machine stops when the host takes none for too long.
void control_send(const uint8_t *frame, size_t length);

// Watches the connection for the coming turn of the loop.
void control_watch(void);

#endif
