// One turn of the event loop: poll what was watched, call who is ready.
#include "base/loop.h"

#include <poll.h>
#include <stddef.h>

#include "power.h"

enum { MAX_WATCHED = 4096 };

struct watch {
	ready_function *ready;
	void *owner;
};

static struct pollfd descriptors[MAX_WATCHED];
static struct watch watches[MAX_WATCHED];
static size_t watch_count;

void loop_watch(int fd, short events, ready_function *ready, void *owner)
{
	if (watch_count == MAX_WATCHED)
		power_fail("more descriptors than the event loop can hold");
	descriptors[watch_count] = (struct pollfd){ .fd = fd, .events = events };
	watches[watch_count++] = (struct watch){ .ready = ready, .owner = owner };
}

void loop_turn(void)
{
	int ready = poll(descriptors, watch_count, -1);

	for (size_t i = 0; ready > 0 && i < watch_count; i++) {
		if (descriptors[i].revents != 0)
			watches[i].ready(watches[i].owner, descriptors[i].revents);
	}
	watch_count = 0;
}
