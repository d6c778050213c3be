// Relays bytes between processes and the host. Each direction has a buffer. A side is read only
// while its buffer has room, so back-pressure passes through both ways.
#include "process/stream.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/loop.h"
#include "protocol/connection.h"
#include "protocol/frame.h"

enum { BUFFER_SIZE = 64 * 1024 };

struct buffer {
	size_t start;
	size_t end;
	uint8_t bytes[BUFFER_SIZE];
};

struct stream {
	struct stream *next;
	uint32_t process;
	uint32_t port;
	enum stream_kind kind;
	int connection; // -1: the stream has ended
	bool connected;
	size_t greeting_left; // bytes of the `stream` frame still to be sent
	bool host_ended;      // the host sends no more
	bool joined;          // false: a terminal that does not exist yet
	int source;           // what the process writes arrives here; -1: nothing or no more
	int sink;             // what the process reads is put here; -1: nothing or no more
	bool in_use;          // a terminal whose process lives
	bool deserted;        // the host has closed it before its end
	int reopening; // an epoll that tells when a terminal that all have closed is opened again; -1: it is open
	uint8_t greeting[AGENT_FRAME_SIZE]; // ends with the `stream` frame
	struct buffer output;               // to the host
	struct buffer input;                // to the process
};

static struct stream *streams;

static bool is_empty(const struct buffer *buffer)
{
	return buffer->start == buffer->end;
}

static bool is_full(const struct buffer *buffer)
{
	return buffer->end == BUFFER_SIZE;
}

// Returns 1 if it read bytes, 0 if there are none now, -1 at the end or on an error.
static int fill(struct buffer *buffer, int fd)
{
	ssize_t count = read(fd, buffer->bytes + buffer->end, BUFFER_SIZE - buffer->end);

	if (count > 0) {
		buffer->end += (size_t)count;
		return 1;
	}
	return count < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

// Takes the first `count` bytes out of the buffer.
static void advance(struct buffer *buffer, size_t count)
{
	buffer->start += count;
	if (is_empty(buffer)) {
		buffer->start = 0;
		buffer->end = 0;
	} else if (is_full(buffer)) {
		memmove(buffer->bytes, buffer->bytes + buffer->start, buffer->end - buffer->start);
		buffer->end -= buffer->start;
		buffer->start = 0;
	}
}

// Returns false if the reader is gone.
static bool drain(struct buffer *buffer, int fd)
{
	ssize_t count = write(fd, buffer->bytes + buffer->start, buffer->end - buffer->start);

	if (count < 0)
		return errno == EAGAIN || errno == EINTR;
	advance(buffer, (size_t)count);
	return true;
}

static void stop_waiting(struct stream *stream)
{
	if (stream->reopening >= 0)
		close(stream->reopening);
	stream->reopening = -1;
}

// A closed terminal polls as hung up, so only the edges of an epoll tell that something has changed.
// A descriptor of the other side would keep the terminal up, but the kernel would then discard what
// is unread when the session leader exits.
static bool wait_for_reopening(struct stream *stream)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET };

	if (stream->reopening >= 0)
		return true;
	stream->reopening = epoll_create1(EPOLL_CLOEXEC);
	if (stream->reopening >= 0 && epoll_ctl(stream->reopening, EPOLL_CTL_ADD, stream->source, &event) == 0)
		return true;
	stop_waiting(stream);
	return false;
}

static void close_source(struct stream *stream)
{
	stop_waiting(stream);
	if (stream->source >= 0 && stream->source != stream->sink)
		close(stream->source);
	stream->source = -1;
}

static void close_sink(struct stream *stream)
{
	if (stream->sink >= 0 && stream->sink != stream->source)
		close(stream->sink);
	stream->sink = -1;
}

static void end(struct stream *stream)
{
	close_source(stream);
	close_sink(stream);
	if (stream->connection >= 0)
		close(stream->connection);
	stream->connection = -1;
}

// Ends a stream that the host has closed, or for which it does not listen.
static void desert(struct stream *stream)
{
	stream->deserted = true;
	end(stream);
}

// Ends a stream when the process's side is closed and everything has been sent to the host.
static void end_if_done(struct stream *stream)
{
	if (stream->kind == STREAM_STDIN && stream->host_ended && is_empty(&stream->input))
		close_sink(stream);
	if (stream->connected && stream->joined && stream->source < 0 && stream->sink < 0 &&
	    stream->greeting_left == 0 && is_empty(&stream->output))
		end(stream);
}

// Sends what is left of the greeting and what the process has written.
static void send_output(struct stream *stream)
{
	struct buffer *output = &stream->output;
	size_t greeting = stream->greeting_left;
	const struct iovec parts[] = {
		{ .iov_base = stream->greeting + sizeof stream->greeting - greeting, .iov_len = greeting },
		{ .iov_base = output->bytes + output->start, .iov_len = output->end - output->start },
	};
	ssize_t count;

	if (!stream->connected || (greeting == 0 && is_empty(output)))
		return;
	count = writev(stream->connection, parts, 2);
	if (count < 0) {
		if (errno != EAGAIN && errno != EINTR)
			desert(stream);
		return;
	}
	if ((size_t)count < greeting)
		greeting = (size_t)count;
	stream->greeting_left -= greeting;
	advance(output, (size_t)count - greeting);
}

static void send_input(struct stream *stream)
{
	if (stream->sink >= 0 && !is_empty(&stream->input) && !drain(&stream->input, stream->sink))
		close_sink(stream);
}

static bool is_output(const struct stream *stream)
{
	return stream->kind == STREAM_STDOUT || stream->kind == STREAM_STDERR;
}

static bool takes_input(const struct stream *stream)
{
	return stream->connected && stream->sink >= 0 && !stream->host_ended && !is_full(&stream->input);
}

static void connection_ready(void *owner, short events)
{
	struct stream *stream = owner;

	if (stream->connection < 0)
		return;
	if (!stream->connected) {
		if (!connection_established(stream->connection)) {
			desert(stream);
			return;
		}
		stream->connected = true;
	}
	if ((events & POLLRDHUP) != 0 && is_output(stream)) {
		desert(stream);
		return;
	}
	if ((events & (POLLOUT | POLLERR | POLLHUP)) != 0)
		send_output(stream);
	if ((events & (POLLIN | POLLERR | POLLHUP)) != 0 && stream->connection >= 0 && takes_input(stream)) {
		stream->host_ended = fill(&stream->input, stream->connection) < 0;
		send_input(stream);
	}
	end_if_done(stream);
}

// Reading a terminal whose last slave is closed fails with EIO. While its process lives, it may be
// opened again: systemd opens /dev/console for each message.
static void source_ready(void *owner, short events)
{
	struct stream *stream = owner;

	(void)events;
	if (stream->source < 0)
		return;
	if (fill(&stream->output, stream->source) >= 0) {
		stop_waiting(stream);
	} else if (!stream->in_use || !wait_for_reopening(stream)) {
		if (stream->kind == STREAM_TERMINAL)
			close_sink(stream);
		close_source(stream);
	}
	send_output(stream);
	end_if_done(stream);
}

static void terminal_changed(void *owner, short events)
{
	struct stream *stream = owner;
	struct epoll_event edge;

	if (stream->reopening < 0)
		return;
	(void)!epoll_wait(stream->reopening, &edge, 1, 0);
	send_input(stream);
	source_ready(stream, events);
}

static void sink_ready(void *owner, short events)
{
	struct stream *stream = owner;

	if (stream->sink < 0)
		return;
	if ((events & POLLERR) != 0)
		close_sink(stream);
	else
		send_input(stream);
	end_if_done(stream);
}

static void watch(struct stream *stream)
{
	short events = 0;

	if (!stream->connected || stream->greeting_left > 0 || !is_empty(&stream->output))
		events |= POLLOUT;
	if (takes_input(stream))
		events |= POLLIN;
	// The host sends nothing there, so its end is the end of the stream, even while the process is silent.
	if (stream->connected && is_output(stream))
		events |= POLLRDHUP;
	if (events != 0)
		loop_watch(stream->connection, events, connection_ready, stream);
	if (stream->reopening >= 0) {
		loop_watch(stream->reopening, POLLIN, terminal_changed, stream);
		return;
	}
	if (stream->source >= 0 && !is_full(&stream->output))
		loop_watch(stream->source, POLLIN, source_ready, stream);
	if (stream->sink >= 0 && !is_empty(&stream->input))
		loop_watch(stream->sink, POLLOUT, sink_ready, stream);
	else if (stream->sink >= 0 && stream->kind == STREAM_STDIN)
		loop_watch(stream->sink, 0, sink_ready, stream); // POLLERR: the reader is gone
}

void stream_watch_all(void)
{
	struct stream **link = &streams;

	while (*link != NULL) {
		struct stream *stream = *link;

		if (stream->connection < 0) {
			*link = stream->next;
			free(stream);
		} else {
			watch(stream);
			link = &stream->next;
		}
	}
}

// Opens the stream's connection, whose first frame says what it is. Returns false, with errno, on
// failure.
static bool open_connection(struct stream *stream)
{
	uint8_t frame[AGENT_FRAME_SIZE];
	size_t length = frame_stream(frame, stream->process, stream->kind);

	memcpy(stream->greeting + sizeof stream->greeting - length, frame, length);
	stream->greeting_left = length;
	stream->connected = false;
	stream->connection = connection_open(stream->port);
	return stream->connection >= 0;
}

void stream_take_input_all(void)
{
	for (struct stream *stream = streams; stream != NULL; stream = stream->next) {
		while (stream->connection >= 0 && takes_input(stream)) {
			int taken = fill(&stream->input, stream->connection);

			stream->host_ended = taken < 0;
			if (taken <= 0)
				break;
		}
		end_if_done(stream);
	}
}

void stream_reconnect_all(void)
{
	for (struct stream *stream = streams; stream != NULL; stream = stream->next) {
		if (stream->connection < 0)
			continue;
		close(stream->connection);
		if (!open_connection(stream))
			desert(stream);
	}
}

bool stream_open(const struct process_request *process, enum stream_kind kind, int descriptor, struct failure *failure)
{
	struct stream *stream = malloc(sizeof *stream);

	if (stream == NULL) {
		close(descriptor);
		return fail(failure, ERROR_SETUP_FAILED, ENOMEM, "stream");
	}
	stream->process = process->id;
	stream->kind = kind;
	stream->port = process->port;
	stream->host_ended = false;
	stream->joined = kind != STREAM_TERMINAL;
	stream->source = is_output(stream) ? descriptor : -1;
	stream->sink = kind == STREAM_STDIN ? descriptor : -1;
	stream->in_use = kind == STREAM_TERMINAL;
	stream->reopening = -1;
	stream->deserted = false;
	stream->input.start = 0;
	stream->input.end = 0;
	stream->output.start = 0;
	stream->output.end = 0;
	if (!open_connection(stream)) {
		int error = errno;

		end(stream);
		free(stream);
		return fail(failure, ERROR_SETUP_FAILED, error, "stream connection");
	}
	// In the order in which they are opened: of two that have data at once, stdout comes before stderr.
	struct stream **last = &streams;
	while (*last != NULL)
		last = &(*last)->next;
	stream->next = NULL;
	*last = stream;
	return true;
}

static struct stream *find_terminal(uint32_t process)
{
	for (struct stream *stream = streams; stream != NULL; stream = stream->next) {
		if (stream->process == process && stream->kind == STREAM_TERMINAL && stream->connection >= 0)
			return stream;
	}
	return NULL;
}

void stream_join_terminal(uint32_t process, int master)
{
	struct stream *stream = find_terminal(process);

	if (stream == NULL || stream->joined) {
		close(master);
		return;
	}
	stream->source = master;
	stream->sink = master;
	stream->joined = true;
}

void stream_release_terminal(uint32_t process)
{
	struct stream *stream = find_terminal(process);

	if (stream == NULL)
		return;
	stream->in_use = false;
	if (stream->reopening >= 0)
		source_ready(stream, POLLHUP);
}

int stream_terminal(uint32_t process)
{
	struct stream *stream = find_terminal(process);

	return stream != NULL ? stream->sink : -1;
}

bool stream_output_is_deserted(uint32_t process)
{
	for (const struct stream *stream = streams; stream != NULL; stream = stream->next) {
		if (stream->process == process && stream->kind == STREAM_STDOUT && stream->deserted)
			return true;
	}
	return false;
}

void stream_drop(uint32_t process)
{
	for (struct stream *stream = streams; stream != NULL; stream = stream->next) {
		if (stream->process == process)
			end(stream);
	}
}
