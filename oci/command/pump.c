// Relays between the standard streams and the container's, which the machine process connects to a socket
// of this process once the container has started. Until then nothing is read: what was typed waits. Each
// connection begins with one frame of the agent (guest-agent/PROTOCOL.md, `stream`).
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci.h"

enum {
	// A pipe that is writable takes as much at once (pipe(7)).
	CHUNK = 4096,
	STREAM_FRAME = 0x85,
	STREAM_TAG = 2,
	HEADER = 8,
	FIELD = 6,
	INTEGER = 8,
	MAX_PAYLOAD = 64,
	STDIN = 0,
	STDERR = 2,
	TERMINAL = 3,
	LOST = 255,
	// Milliseconds without a byte, after which the output of a process that has exited counts as ended:
	// another one has it.
	STALL = 10000,
};

// One direction.
struct relay {
	int from; // -1: there is none, or it has ended
	int to;
	char data[CHUNK];
	size_t start;
	size_t end;
};

static struct relay in = { .from = -1, .to = -1 };

// A connection whose first frame has not come completely. The guest is hostile: it may send none, so
// nothing else waits for it.
static struct {
	int file; // -1: there is none
	size_t length;
	unsigned char bytes[HEADER + MAX_PAYLOAD];
} arriving = { .file = -1 };

// Bits of the streams that have come, and those that will.
static unsigned arrived;
static unsigned expected;
// By the standard stream that it writes to.
static struct relay out[3] = {
	{ .from = -1, .to = -1 },
	{ .from = -1, .to = -1 },
	{ .from = -1, .to = -1 },
};

static bool is_open(const struct relay *relay)
{
	return relay->from >= 0 || relay->start < relay->end;
}

static void end_relay(struct relay *relay, bool broken)
{
	relay->from = -1;
	if (broken)
		relay->start = relay->end = 0;
	if (relay == &in && relay->to >= 0 && !is_open(relay))
		shutdown(relay->to, SHUT_WR);
}

static void fill(struct relay *relay)
{
	ssize_t count = read(relay->from, relay->data, sizeof relay->data);

	if (count < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (count <= 0) {
		int from = relay->from;

		end_relay(relay, false);
		if (relay != &in)
			shutdown(from, SHUT_RD);
		return;
	}
	relay->start = 0;
	relay->end = (size_t)count;
}

static void drain(struct relay *relay)
{
	ssize_t count = relay == &in ? send(relay->to, relay->data + relay->start, relay->end - relay->start,
					    MSG_DONTWAIT | MSG_NOSIGNAL) :
				       write(relay->to, relay->data + relay->start, relay->end - relay->start);

	if (count >= 0)
		relay->start += (size_t)count;
	else if (errno != EAGAIN && errno != EINTR) {
		// The reader is gone: the program's next write fails, as it would without a machine.
		if (relay != &in && relay->from >= 0)
			close(relay->from);
		end_relay(relay, true);
		return;
	}
	if (relay->from < 0)
		end_relay(relay, false);
}

// Returns the bytes of the first frame, as far as they are known; 0 if it is no frame of a stream.
static size_t frame_length(void)
{
	const unsigned char *header = arriving.bytes;
	size_t length;

	if (arriving.length < HEADER)
		return HEADER;
	length = (size_t)header[0] | (size_t)header[1] << 8 | (size_t)header[2] << 16 | (size_t)header[3] << 24;
	if ((header[4] | header[5] << 8) != STREAM_FRAME || length > MAX_PAYLOAD)
		return 0;
	return HEADER + length;
}

// Returns the stream that a connection is, or -1.
static int stream_of(const unsigned char *payload, size_t length)
{
	for (size_t at = 0; at + FIELD + INTEGER <= length; at += FIELD + INTEGER) {
		if ((payload[at] | payload[at + 1] << 8) == STREAM_TAG)
			return payload[at + FIELD] <= TERMINAL ? payload[at + FIELD] : -1;
	}
	return -1;
}

// Takes the connection as its stream. Returns false if it is none of those that are expected.
static bool adopt(void)
{
	int stream = stream_of(arriving.bytes + HEADER, arriving.length - HEADER);

	if (stream < 0 || (expected & ~arrived & 1U << stream) == 0)
		return false;
	arrived |= 1U << stream;
	if (stream == STDIN || stream == TERMINAL)
		in = (struct relay){ .from = STDIN_FILENO, .to = arriving.file };
	if (stream != STDIN) {
		int number = stream == STDERR ? STDERR_FILENO : STDOUT_FILENO;

		out[number] = (struct relay){ .from = arriving.file, .to = number };
	}
	arriving.file = -1;
	return true;
}

// Reads on in the first frame. Returns false at the end of a connection that is no stream.
static bool read_frame(void)
{
	size_t length = frame_length();
	ssize_t count = recv(arriving.file, arriving.bytes + arriving.length, length - arriving.length, MSG_DONTWAIT);

	if (count < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (count <= 0)
		return false;
	arriving.length += (size_t)count;
	length = frame_length();
	if (length == 0)
		return false;
	return arriving.length < length || adopt();
}

// Nothing else connects: a guest that does otherwise has the streams that it has.
static void end_streams(int *streams)
{
	if (arriving.file >= 0)
		close(arriving.file);
	arriving.file = -1;
	close(*streams);
	*streams = -1;
}

static void accept_stream(int *streams)
{
	if (arriving.file < 0) {
		arriving.file = accept4(*streams, NULL, NULL, SOCK_CLOEXEC);
		arriving.length = 0;
	} else if (!read_frame() || arrived == expected) {
		end_streams(streams);
	}
}

void block_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	sigdelset(&all, SIGPIPE);
	sigprocmask(SIG_SETMASK, &all, NULL);
}

void send_size(int control)
{
	struct winsize size;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		send_line(control, "resize %u %u\n", size.ws_col, size.ws_row);
}

static void forward(int control, int signals, bool terminal)
{
	struct signalfd_siginfo info;

	if (read(signals, &info, sizeof info) != sizeof info)
		return;
	if (info.ssi_signo == SIGCHLD) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	} else if (info.ssi_signo == SIGWINCH && terminal) {
		send_size(control);
	} else {
		send_line(control, "signal %u\n", info.ssi_signo);
	}
}

// True while a reader of the output is waited for.
static bool is_blocked(void)
{
	return out[STDOUT_FILENO].start < out[STDOUT_FILENO].end || out[STDERR_FILENO].start < out[STDERR_FILENO].end;
}

// What to poll a relay for: one of its two ends.
static struct pollfd interest(const struct relay *relay)
{
	if (relay->start < relay->end)
		return (struct pollfd){ .fd = relay->to, .events = POLLOUT };
	return (struct pollfd){ .fd = relay->from, .events = POLLIN };
}

static void move(struct relay *relay)
{
	if (relay->start < relay->end)
		drain(relay);
	else if (relay->from >= 0)
		fill(relay);
}

// Engines learn of a lack of memory from the host's kernel, which counts what it kills in the container's
// cgroup. There the guest's is repeated, once the machine is gone.
static void die_of_memory(int control, int score)
{
	enum { PART = 64 * 1024, PARTS = 8192 };
	char line[MAX_LINE];

	if (score < 0 || write(score, "1000", 4) != 4)
		return;
	send_line(control, "starve\n");
	// Also the end of the machine is told.
	do {
		if (!read_line(control, line) || strncmp(line, "error ", 6) == 0)
			return;
	} while (strcmp(line, "ok") != 0);
	for (int part = 0; part < PARTS; part++) {
		void *memory =
			mmap(NULL, PART, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		if (memory == MAP_FAILED)
			return;
	}
}

void pump(int control, int streams, bool terminal, int score)
{
	enum { CONTROL, STREAMS, SIGNALS, IN, OUT, ERR, COUNT };
	char line[MAX_LINE];
	sigset_t all;
	int code = -1;
	bool starved = false;
	bool gone = false; // the keeper, and with it the machine
	int signals;

	expected = terminal ? 1U << TERMINAL : 1U << STDIN | 1U << STDOUT_FILENO | 1U << STDERR;
	signal(SIGPIPE, SIG_IGN);
	block_signals();
	sigfillset(&all);
	signals = signalfd(-1, &all, SFD_CLOEXEC);
	// After the end of the container its output is still read. A connection may come late.
	while (code < 0 || (!gone && streams >= 0) || is_open(&out[STDOUT_FILENO]) || is_open(&out[STDERR_FILENO])) {
		struct pollfd polls[COUNT] = {
			[CONTROL] = { .fd = gone ? -1 : control, .events = POLLIN },
			[STREAMS] = { .fd = arriving.file < 0 ? streams : arriving.file, .events = POLLIN },
			[SIGNALS] = { .fd = signals, .events = POLLIN },
			[IN] = interest(&in),
			[OUT] = interest(&out[STDOUT_FILENO]),
			[ERR] = interest(&out[STDERR_FILENO]),
		};

		int events = poll(polls, COUNT, code < 0 || is_blocked() ? -1 : STALL);

		if (events < 0)
			continue;
		if (events == 0)
			break;
		if (polls[IN].revents != 0)
			move(&in);
		if (polls[OUT].revents != 0)
			move(&out[STDOUT_FILENO]);
		if (polls[ERR].revents != 0)
			move(&out[STDERR_FILENO]);
		if (polls[STREAMS].revents != 0)
			accept_stream(&streams);
		if (polls[CONTROL].revents != 0) {
			gone = !read_line(control, line);
			if (code < 0 && (gone || sscanf(line, "exit %d", &code) != 1))
				code = LOST;
			starved = starved || (!gone && strcmp(line, "exit 137 oom") == 0);
		}
		if (polls[SIGNALS].revents != 0)
			forward(control, signals, terminal);
	}
	if (starved && !gone)
		die_of_memory(control, score);
	_exit(code);
}
