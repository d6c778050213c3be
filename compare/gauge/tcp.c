// TCP between a sandbox and the host: the host's side (`tsvm-gauge tcp-host`), and the operations of the
// sandbox's side. The first byte of a connection says what follows until its end:
//
// - `e`: each byte comes back
// - `s`: after each block from the sandbox, a byte comes back
// - `r`: after each byte from the sandbox, a block comes back
#include "gauge.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, STEP = 1 << 16 };

const char *gauge_address;
uint16_t gauge_port;

static int connection;

static bool receive(int file, size_t size)
{
	static char bytes[STEP];
	while (size > 0) {
		ssize_t count = read(file, bytes, size < STEP ? size : STEP);
		if (count <= 0)
			return false;
		size -= (size_t)count;
	}
	return true;
}

static bool transmit(int file, size_t size)
{
	static const char bytes[STEP];
	while (size > 0) {
		ssize_t count = write(file, bytes, size < STEP ? size : STEP);
		if (count <= 0)
			return false;
		size -= (size_t)count;
	}
	return true;
}

static void without_delay(int file)
{
	int yes = 1;
	setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
}

static void need(bool done, const char *what)
{
	if (!done)
		gauge_fail(what);
}

/** Fills in an address. */
static struct sockaddr_in address_of(const char *text, uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	errno = EINVAL;
	need(inet_pton(AF_INET, text, &address.sin_addr) == 1, text);
	return address;
}

static void serve(int file)
{
	char kind;
	without_delay(file);
	if (read(file, &kind, 1) != 1)
		return;
	size_t in = kind == 's' ? BLOCK : 1;
	size_t out = kind == 'r' ? BLOCK : 1;
	while (receive(file, in) && transmit(file, out))
		;
}

int gauge_tcp_host(const char *text)
{
	struct sockaddr_in address = address_of(text, 0);
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	need(listener >= 0 && bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 16) == 0 &&
		     getsockname(listener, (struct sockaddr *)&address, &size) == 0,
	     text);
	signal(SIGCHLD, SIG_IGN);
	printf("ready %u\n", ntohs(address.sin_port));
	fflush(stdout);
	struct pollfd files[] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = listener, .events = POLLIN } };
	pid_t self = getpid();
	while (poll(files, 2, -1) >= 0 || errno == EINTR) {
		if (files[0].revents != 0)
			return 0;
		int file = files[1].revents == 0 ? -1 : accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (file < 0)
			continue;
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() == self)
				serve(file);
			_exit(0);
		}
		close(file);
	}
	gauge_fail("poll");
}

static void connect_for(char kind)
{
	struct sockaddr_in address = address_of(gauge_address, gauge_port);
	connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	need(connection >= 0 && connect(connection, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
	without_delay(connection);
	need(write(connection, &kind, 1) == 1, "write");
}

static void exchange(uint64_t turns, size_t out, size_t in)
{
	for (uint64_t turn = 0; turn < turns; turn++)
		need(transmit(connection, out) && receive(connection, in), "the connection");
}

static void connect_to_send(void)
{
	connect_for('s');
}

static void connect_to_receive(void)
{
	connect_for('r');
}

static void connect_to_echo(void)
{
	connect_for('e');
}

static void send_blocks(uint64_t turns)
{
	exchange(turns, BLOCK, 1);
}

static void receive_blocks(uint64_t turns)
{
	exchange(turns, 1, BLOCK);
}

static void go_round(uint64_t turns)
{
	exchange(turns, 1, 1);
}

const struct operation GAUGE_TCP_OPERATIONS[] = {
	{ "tcp-round-trip", go_round, connect_to_echo },
	{ "tcp-send", send_blocks, connect_to_send },
	{ "tcp-receive", receive_blocks, connect_to_receive },
};
const size_t GAUGE_TCP_OPERATION_COUNT = sizeof(GAUGE_TCP_OPERATIONS) / sizeof(GAUGE_TCP_OPERATIONS[0]);
