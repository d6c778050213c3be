// The guest agent: process 1 of a machine, in which it runs containers for the host. PROTOCOL.md
// specifies what it does.
//
//     agent               process 1 of a machine; connects to the host by vsock
//     agent --unix PATH   process 1 of a pid namespace, in tests; connects by a unix socket
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/console.h"
#include "base/loop.h"
#include "boot/boot.h"
#include "control.h"
#include "power.h"
#include "process/process.h"
#include "process/stream.h"
#include "protocol/connection.h"
#include "snapshot.h"

static int open_child_signals(void)
{
	sigset_t set;
	int signals;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0)
		console_log("signalfd: %s", strerror(errno));
	return signals;
}

static void child_signal_ready(void *owner, short events)
{
	struct signalfd_siginfo info;

	(void)events;
	while (read(*(int *)owner, &info, sizeof info) > 0)
		;
	process_reap();
}

int main(int argc, char **argv)
{
	bool test = argc == 3 && strcmp(argv[1], "--unix") == 0;
	struct timespec start;
	int child_signals;

	clock_gettime(CLOCK_MONOTONIC, &start);
	if (getpid() != 1) {
		fprintf(stderr, "agent: this is the first process of a microVM, not to be run otherwise\n");
		return 2;
	}
	if (test)
		connection_use_unix(argv[2]);
	boot_begin(!test);
	if (!boot_mount())
		power_off();
	child_signals = open_child_signals();
	if (child_signals < 0 || !control_open(&start))
		power_off();
	do {
		control_watch();
		loop_watch(child_signals, POLLIN, child_signal_ready, &child_signals);
		process_watch_all();
		if (!snapshot_is_frozen())
			stream_watch_all();
	} while (loop_turn());
	power_off();
}
