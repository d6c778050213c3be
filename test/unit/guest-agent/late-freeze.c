// Freezes the cgroup in the working directory, of which files stand for the kernel's. The machine stands
// still as soon as the agent waits, for longer than it would: a process stops some waits later, the number
// of which is the argument. Prints what the agent says.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "container/container.h"
#include "container/freezer.h"

enum { TIMEOUT = 500 };

static int waits;
static int enough;

// Of the agent's files, poll() is this.
int late_poll(struct pollfd *wait, nfds_t count, int timeout);

int late_poll(struct pollfd *wait, nfds_t count, int timeout)
{
	int file;

	(void)wait;
	(void)count;
	usleep((waits++ == 0 ? 2 * TIMEOUT : timeout) * 1000);
	if (waits < enough)
		return 0;
	file = open("cgroup.events", O_WRONLY | O_TRUNC);
	if (file < 0 || write(file, "populated 1\nfrozen 1\n", 21) != 21)
		abort();
	close(file);
	return 1;
}

struct container *container_next(struct container *container)
{
	(void)container;
	return NULL;
}

int main(int count, char **words)
{
	int cgroup = open(".", O_PATH | O_DIRECTORY);

	enough = count == 2 ? atoi(words[1]) : 0;
	puts(freezer_freeze(cgroup, TIMEOUT) ? "frozen" : strerror(errno));
	return 0;
}
