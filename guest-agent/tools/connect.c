// The tool that reaches a TCP port of the container from outside.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/files.h"
#include "tools/tool.h"

enum {
	CHUNK = 65536,
};

// One direction of the connection.
struct flow {
	int from;
	int to;
	size_t written; // of what was read
	size_t length;
	bool ended; // nothing more comes from there, and all of it was written
	char bytes[CHUNK];
};

static bool is_for_later(int error)
{
	return error == EAGAIN || error == EINTR;
}

static int connect_to(const struct sockaddr *address, socklen_t size)
{
	int peer = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (peer >= 0 && connect(peer, address, size) != 0) {
		int error = errno;

		close(peer);
		errno = error;
		return -1;
	}
	return peer;
}

// Returns a connection to a port of 127.0.0.1, or else of ::1, or -1.
static int connect_to_port(uint16_t port)
{
	const struct sockaddr_in v4 = { .sin_family = AF_INET,
					.sin_port = htons(port),
					.sin_addr = { .s_addr = htonl(INADDR_LOOPBACK) } };
	const struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
					 .sin6_port = htons(port),
					 .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int peer = connect_to((const struct sockaddr *)&v4, sizeof v4);
	int error = errno;

	if (peer < 0)
		peer = connect_to((const struct sockaddr *)&v6, sizeof v6);
	// A machine without IPv6 says nothing of the port.
	errno = error;
	return peer;
}

// Reads what comes next.
static bool fill(struct flow *flow)
{
	ssize_t length = read(flow->from, flow->bytes, sizeof flow->bytes);

	if (length < 0)
		return is_for_later(errno);
	flow->written = 0;
	flow->length = (size_t)length;
	flow->ended = length == 0;
	return true;
}

// Writes as much of what was read as there is room for.
static bool drain(struct flow *flow)
{
	while (flow->written < flow->length) {
		ssize_t length = write(flow->to, flow->bytes + flow->written, flow->length - flow->written);

		if (length < 0)
			return is_for_later(errno);
		flow->written += (size_t)length;
	}
	return true;
}

static bool is_full(const struct flow *flow)
{
	return flow->written < flow->length;
}

// What the flow waits for.
static struct pollfd awaited(const struct flow *flow)
{
	if (flow->ended)
		return (struct pollfd){ .fd = -1 };
	return is_full(flow) ? (struct pollfd){ .fd = flow->to, .events = POLLOUT } :
			       (struct pollfd){ .fd = flow->from, .events = POLLIN };
}

// Moves what it can. Returns false if one of the two ends fails.
static bool move(struct flow *flow)
{
	return (is_full(flow) || fill(flow)) && drain(flow);
}

// Carries both directions until the peer has ended.
static bool carry(struct flow *out, struct flow *in)
{
	while (!in->ended) {
		struct pollfd waits[] = { awaited(out), awaited(in) };

		if (poll(waits, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return false;
		}
		if (waits[0].revents != 0) {
			// A peer that reads no more may have said why.
			if (!move(out))
				out->ended = true;
			if (out->ended)
				shutdown(out->to, SHUT_WR);
		}
		if (waits[1].revents != 0 && !move(in))
			return false;
	}
	return true;
}

// Returns 0 for a text that is no port.
static uint16_t parse_port(const char *text)
{
	uint32_t port = 0;

	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return 0;
		port = port * 10 + (uint32_t)(*text - '0');
		if (port > UINT16_MAX)
			return 0;
	}
	return (uint16_t)port;
}

static bool set_nonblocking(int file)
{
	return fcntl(file, F_SETFL, O_NONBLOCK) == 0;
}

// connect: carries stdin to a TCP port of the container's loopback addresses, and what comes from
// there to stdout. Ends when the other side has ended. The end of stdin is one for it.
bool tool_connect(char **arguments)
{
	static struct flow out = { .from = STDIN_FILENO };
	static struct flow in = { .to = STDOUT_FILENO };
	uint16_t port = arguments[0] == NULL ? 0 : parse_port(arguments[0]);
	int peer;

	if (port == 0)
		return tool_bad_arguments();
	signal(SIGPIPE, SIG_IGN);
	peer = connect_to_port(port);
	if (peer < 0)
		return print_error(arguments[0]);
	out.to = peer;
	in.from = peer;
	return (set_nonblocking(STDIN_FILENO) && set_nonblocking(STDOUT_FILENO) && set_nonblocking(peer) &&
		carry(&out, &in)) ||
	       print_error(arguments[0]);
}
