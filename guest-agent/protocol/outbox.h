// Frames that wait to be sent on the control connection.
#ifndef TSVM_OUTBOX_H
#define TSVM_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Queues a frame. If the host has not taken earlier ones for too long and there is no room, the machine stops.
void outbox_send(const uint8_t *frame, size_t length);

// False while there is only room for what the processes have to report. No further requests are taken then.
bool outbox_has_room(void);

bool outbox_is_empty(void);

// Writes to the connection what it takes now. Returns false when the connection is lost.
bool outbox_flush(int connection);

#endif
