// Frames that wait to be sent on the control connection.
#ifndef TSVM_OUTBOX_H
#define TSVM_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Queues a frame. Stops the machine if there is no room, because the host does not read.
void outbox_send(const uint8_t *frame, size_t length);

// Returns false while the only room left is for reports of processes. No requests are taken then.
bool outbox_has_room(void);

bool outbox_is_empty(void);

// Forgets what a lost connection was to send.
void outbox_clear(void);

// Writes as much as the connection takes now. Returns false if the connection is lost.
bool outbox_flush(int connection);

#endif
