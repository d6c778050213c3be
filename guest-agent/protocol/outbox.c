// Frames that wait to be sent: a buffer of bytes.
#include "protocol/outbox.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "protocol/frame.h"

enum {
	SIZE = 512 * 1024,
	// For the reports of at most 256 processes.
	RESERVE = 256 * AGENT_FRAME_SIZE,
};

static uint8_t bytes[SIZE];
static size_t used;

void outbox_send(const uint8_t *frame, size_t length)
{
	if (length > SIZE - used) {
		loop_stop("the host takes no more frames");
		return;
	}
	memcpy(bytes + used, frame, length);
	used += length;
}

bool outbox_has_room(void)
{
	return SIZE - used >= RESERVE;
}

bool outbox_is_empty(void)
{
	return used == 0;
}

void outbox_clear(void)
{
	used = 0;
}

bool outbox_flush(int connection)
{
	ssize_t count = write(connection, bytes, used);

	if (count < 0)
		return errno == EAGAIN || errno == EINTR;
	used -= (size_t)count;
	memmove(bytes, bytes + count, used);
	return true;
}
