// The control connection. The machine serves only its host: when the connection is lost, the
// machine stops. A frozen one may be a copy of that which had the connection, and connects again.
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/console.h"
#include "base/loop.h"
#include "boot/machine.h"
#include "container/container.h"
#include "process/process.h"
#include "protocol/connection.h"
#include "protocol/frame.h"
#include "protocol/outbox.h"
#include "protocol/request.h"
#include "snapshot.h"

enum {
	INPUT_SIZE = 64 * 1024,
	// Milliseconds.
	RECONNECT_TIMEOUT = 30000,
	RECONNECT_ANSWER = 2000,
	RECONNECT_PAUSE = 20,
};

static int connection = -1;
static struct frame_reader reader;
static uint8_t input[INPUT_SIZE];
static size_t input_start;
static size_t input_end;

static struct timespec started;
static bool lost;

static void flush(void)
{
	if (!outbox_flush(connection))
		lost = true;
}

static bool create_container(struct request *request, struct failure *failure)
{
	if (!machine_is_set_up())
		return fail(failure, ERROR_BAD_REQUEST, 0, "the machine is not set up");
	return container_create(request, failure);
}

static bool is_for_frozen(enum frame_type type)
{
	return type != FRAME_MACHINE && type != FRAME_CONTAINER && type != FRAME_REMOVE && type != FRAME_PROCESS;
}

// Carries a request out, or starts what takes longer. `process` is answered when its launch is
// over; `signal`, `resize` and `shutdown` are answered only by a failure.
static bool do_request(struct request *request, uint16_t number, struct failure *failure)
{
	uint8_t frame[AGENT_FRAME_SIZE];

	if (snapshot_is_frozen() && !is_for_frozen(request->type))
		return fail(failure, ERROR_BAD_REQUEST, 0, "the machine is frozen");
	switch (request->type) {
	case FRAME_MACHINE:
		if (!machine_set_up(&request->machine, failure))
			return false;
		break;
	case FRAME_CONTAINER:
		if (!create_container(request, failure))
			return false;
		break;
	case FRAME_REMOVE:
		if (!process_remove_container(&request->remove, failure))
			return false;
		break;
	case FRAME_FREEZE:
		if (!snapshot_freeze(&request->freeze, failure))
			return false;
		break;
	case FRAME_THAW:
		if (!snapshot_thaw(&request->thaw, failure))
			return false;
		break;
	case FRAME_PROCESS:
		return process_start(number, &request->process, failure);
	case FRAME_SIGNAL:
		return process_signal(&request->signal, failure);
	case FRAME_RESIZE:
		return process_resize(&request->resize, failure);
	case FRAME_PING:
		outbox_send(frame, frame_pong(frame, number));
		return true;
	default: // FRAME_SHUTDOWN: request_decode() lets nothing else pass
		loop_stop(NULL);
		return true;
	}
	outbox_send(frame, frame_done(frame, number));
	return true;
}

static void answer_failure(uint16_t number, const struct failure *failure)
{
	uint8_t frame[AGENT_FRAME_SIZE];

	outbox_send(frame, frame_error(frame, number, failure));
}

static void take_frame(void)
{
	struct request request;
	struct failure failure;

	if (!request_decode(&request, reader.type, frame_reader_take(&reader), reader.length, &failure) ||
	    !do_request(&request, reader.request, &failure))
		answer_failure(reader.request, &failure);
	request_free(&request);
}

// Returns false at the end of the input, while there is no room for an answer, and once the loop is
// stopped.
static bool can_take_frame(void)
{
	return input_start < input_end && outbox_has_room() && !lost && !loop_is_stopped();
}

// Takes frames from the input for as long as there is room for answers.
static void take_input(void)
{
	struct failure failure;

	while (can_take_frame()) {
		size_t taken;

		switch (frame_reader_push(&reader, input + input_start, input_end - input_start, &taken)) {
		case FRAME_COMPLETE:
			take_frame();
			break;
		case FRAME_OVERSIZED:
			fail(&failure, ERROR_TOO_LARGE, 0, "a frame of %u bytes, at most %d are allowed", reader.length,
			     MAX_HOST_PAYLOAD);
			answer_failure(reader.request, &failure);
			break;
		case FRAME_NO_MEMORY:
			fail(&failure, ERROR_SETUP_FAILED, ENOMEM, "a frame of %u bytes", reader.length);
			answer_failure(reader.request, &failure);
			break;
		case FRAME_INCOMPLETE:
			break;
		}
		input_start += taken;
	}
}

static void connection_ready(void *owner, short events)
{
	(void)owner;
	if ((events & POLLOUT) != 0)
		flush();
	if (input_start == input_end && (events & (POLLIN | POLLERR | POLLHUP)) != 0) {
		ssize_t count = read(connection, input, sizeof input);

		if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR))
			lost = true;
		input_start = 0;
		input_end = count > 0 ? (size_t)count : 0;
	}
}

static uint64_t microseconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)((now.tv_sec - start->tv_sec) * 1000000 + (now.tv_nsec - start->tv_nsec) / 1000);
}

// Returns false, with errno, if the host cannot be reached. `timeout` is in milliseconds, -1: none.
static bool connect_to_host(int timeout)
{
	struct pollfd wait = { .events = POLLOUT };

	connection = connection_open(AGENT_PORT);
	wait.fd = connection;
	if (connection < 0)
		return false;
	errno = ETIMEDOUT;
	if (poll(&wait, 1, timeout) == 1 && connection_established(connection))
		return true;
	close(connection);
	connection = -1;
	return false;
}

// Drops what belongs to the lost connection: half a request, and answers to requests of its host.
static void forget_connection(void)
{
	close(connection);
	free(frame_reader_take(&reader));
	reader = (struct frame_reader){ 0 };
	input_start = 0;
	input_end = 0;
	outbox_clear();
}

// The host of a restored machine listens before the machine runs. It is asked again because the
// device may still be busy with its reset, and lose the question.
static bool reconnect(void)
{
	const struct timespec pause = { .tv_nsec = RECONNECT_PAUSE * 1000000L };
	struct timespec begin;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	forget_connection();
	while (!connect_to_host(RECONNECT_ANSWER)) {
		if (microseconds_since(&begin) > RECONNECT_TIMEOUT * UINT64_C(1000))
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static void say_hello_again(void)
{
	struct utsname names;
	uint8_t frame[AGENT_FRAME_SIZE];

	uname(&names);
	outbox_send(frame,
		    frame_hello_again(frame, names.release, microseconds_since(&started), process_count_running()));
	process_report_running();
}

static void recover(void)
{
	lost = false;
	if (!snapshot_lose_host() || !reconnect())
		loop_stop(NULL);
	else
		say_hello_again();
}

void control_watch(void)
{
	short events = 0;

	do {
		if (lost)
			recover();
		take_input();
		if (!outbox_is_empty())
			flush();
	} while (can_take_frame() || (lost && !loop_is_stopped()));
	if (!outbox_is_empty())
		events |= POLLOUT;
	if (input_start == input_end)
		events |= POLLIN;
	loop_watch(connection, events, connection_ready, NULL);
}

bool control_open(const struct timespec *start)
{
	struct utsname names;
	uint8_t frame[AGENT_FRAME_SIZE];

	started = *start;
	if (!connect_to_host(-1)) {
		console_log("cannot connect to the host: %s", strerror(errno));
		return false;
	}
	uname(&names);
	outbox_send(frame, frame_hello(frame, names.release, microseconds_since(start)));
	flush();
	return true;
}
