// One turn of the event loop: poll the watched descriptors, call the functions of those that are
// ready.
#include "base/loop.h"

#include <poll.h>
#include <stddef.h>

#include "base/console.h"

enum { MAX_WATCHED = 4096 };

struct watch {
	ready_function *ready;
	void *owner;
};

static struct pollfd descriptors[MAX_WATCHED];
static struct watch watches[MAX_WATCHED];
static size_t watch_count;
static bool stopped;

void loop_watch(int fd, short events, ready_function *ready, void *owner)
{
	if (watch_count == MAX_WATCHED) {
		loop_stop("more descriptors than the event loop can hold");
		return;
	}
	descriptors[watch_count] = (struct pollfd){ .fd = fd, .events = events };
	watches[watch_count++] = (struct watch){ .ready = ready, .owner = owner };
}

bool loop_turn(void)
{
	int ready = stopped ? 0 : poll(descriptors, watch_count, -1);

	for (size_t i = 0; ready > 0 && i < watch_count; i++) {
		if (descriptors[i].revents != 0)
			watches[i].ready(watches[i].owner, descriptors[i].revents);
	}
	watch_count = 0;
	return !stopped;
}

void loop_stop(const char *why)
{
	if (why != NULL && !stopped)
		console_log("%s", why);
	stopped = true;
}

bool loop_is_stopped(void)
{
	return stopped;
}
