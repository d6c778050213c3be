// Frames on the wire. The reader is a state machine that takes pieces of any size. The writers fill
// a buffer that is large enough for every frame of the agent.
#include "protocol/frame.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static uint16_t load16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static uint32_t load32(const uint8_t *bytes)
{
	return (uint32_t)load16(bytes) | (uint32_t)load16(bytes + 2) << 16;
}

static void store(uint8_t *bytes, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(value >> 8 * i);
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

uint8_t *frame_reader_take(struct frame_reader *reader)
{
	uint8_t *payload = reader->payload;

	reader->payload = NULL;
	reader->header_length = 0;
	reader->payload_length = 0;
	return payload;
}

enum frame_event frame_reader_push(struct frame_reader *reader, const uint8_t *bytes, size_t count, size_t *taken)
{
	size_t used = 0;

	if (reader->skip > 0) {
		used = reader->skip < count ? (size_t)reader->skip : count;
		reader->skip -= used;
	}

	if (reader->header_length < FRAME_HEADER_LENGTH) {
		size_t part = smaller(FRAME_HEADER_LENGTH - reader->header_length, count - used);

		if (part > 0)
			memcpy(reader->header + reader->header_length, bytes + used, part);
		reader->header_length += part;
		used += part;
		*taken = used;
		if (reader->header_length < FRAME_HEADER_LENGTH)
			return FRAME_INCOMPLETE;

		reader->length = load32(reader->header);
		reader->type = load16(reader->header + 4);
		reader->request = load16(reader->header + 6);
		if (reader->length > MAX_HOST_PAYLOAD) {
			reader->skip = reader->length;
			reader->header_length = 0;
			return FRAME_OVERSIZED;
		}
		reader->payload = malloc(reader->length > 0 ? reader->length : 1);
		if (reader->payload == NULL) {
			reader->skip = reader->length;
			reader->header_length = 0;
			return FRAME_NO_MEMORY;
		}
	}

	size_t part = smaller(reader->length - reader->payload_length, count - used);
	if (part > 0)
		memcpy(reader->payload + reader->payload_length, bytes + used, part);
	reader->payload_length += part;
	*taken = used + part;
	return reader->payload_length == reader->length ? FRAME_COMPLETE : FRAME_INCOMPLETE;
}

static size_t add_bytes(uint8_t *frame, size_t length, uint16_t tag, const void *bytes, size_t count)
{
	store(frame + length, tag, 2);
	store(frame + length + 2, count, 4);
	memcpy(frame + length + FIELD_HEADER_LENGTH, bytes, count);
	return length + FIELD_HEADER_LENGTH + count;
}

static size_t add_integer(uint8_t *frame, size_t length, uint16_t tag, uint64_t value)
{
	uint8_t bytes[8];

	store(bytes, value, sizeof bytes);
	return add_bytes(frame, length, tag, bytes, sizeof bytes);
}

// Texts are cut at the size of a failure's message. That keeps every frame below AGENT_FRAME_SIZE.
static size_t add_text(uint8_t *frame, size_t length, uint16_t tag, const char *text)
{
	return add_bytes(frame, length, tag, text, strnlen(text, FAILURE_MESSAGE_SIZE));
}

static size_t finish(uint8_t *frame, size_t length, enum frame_type type, uint16_t request)
{
	store(frame, length - FRAME_HEADER_LENGTH, 4);
	store(frame + 4, type, 2);
	store(frame + 6, request, 2);
	return length;
}

static size_t add_hello(uint8_t *frame, const char *kernel, uint64_t running_microseconds)
{
	size_t length = FRAME_HEADER_LENGTH;

	length = add_integer(frame, length, TAG_HELLO_PROTOCOL, PROTOCOL_VERSION);
	length = add_text(frame, length, TAG_HELLO_AGENT, AGENT_VERSION);
	length = add_text(frame, length, TAG_HELLO_KERNEL, kernel);
	return add_integer(frame, length, TAG_HELLO_RUNNING, running_microseconds);
}

size_t frame_hello(uint8_t frame[AGENT_FRAME_SIZE], const char *kernel, uint64_t running_microseconds)
{
	return finish(frame, add_hello(frame, kernel, running_microseconds), FRAME_HELLO, 0);
}

size_t frame_hello_again(uint8_t frame[AGENT_FRAME_SIZE], const char *kernel, uint64_t running_microseconds,
			 size_t processes)
{
	size_t length = add_hello(frame, kernel, running_microseconds);

	length = add_integer(frame, length, TAG_HELLO_FROZEN, 1);
	length = add_integer(frame, length, TAG_HELLO_PROCESSES, processes);
	return finish(frame, length, FRAME_HELLO, 0);
}

size_t frame_running(uint8_t frame[AGENT_FRAME_SIZE], uint32_t process, uint32_t container, pid_t pid)
{
	size_t length = FRAME_HEADER_LENGTH;

	length = add_integer(frame, length, TAG_RUNNING_PROCESS, process);
	length = add_integer(frame, length, TAG_RUNNING_CONTAINER, container);
	length = add_integer(frame, length, TAG_RUNNING_PID, (uint64_t)pid);
	return finish(frame, length, FRAME_RUNNING, 0);
}

size_t frame_started(uint8_t frame[AGENT_FRAME_SIZE], uint16_t request, uint32_t process, pid_t pid)
{
	size_t length = FRAME_HEADER_LENGTH;

	length = add_integer(frame, length, TAG_STARTED_PROCESS, process);
	length = add_integer(frame, length, TAG_STARTED_PID, (uint64_t)pid);
	return finish(frame, length, FRAME_STARTED, request);
}

size_t frame_exited(uint8_t frame[AGENT_FRAME_SIZE], uint32_t process, uint32_t container, int wait_status,
		    bool oom_killed)
{
	size_t length = FRAME_HEADER_LENGTH;

	length = add_integer(frame, length, TAG_EXITED_PROCESS, process);
	if (WIFSIGNALED(wait_status))
		length = add_integer(frame, length, TAG_EXITED_SIGNAL, (uint64_t)WTERMSIG(wait_status));
	else
		length = add_integer(frame, length, TAG_EXITED_CODE, (uint64_t)WEXITSTATUS(wait_status));
	length = add_integer(frame, length, TAG_EXITED_CONTAINER, container);
	if (oom_killed)
		length = add_integer(frame, length, TAG_EXITED_OOM_KILLED, 1);
	return finish(frame, length, FRAME_EXITED, 0);
}

size_t frame_error(uint8_t frame[AGENT_FRAME_SIZE], uint16_t request, const struct failure *failure)
{
	size_t length = FRAME_HEADER_LENGTH;

	length = add_integer(frame, length, TAG_ERROR_KIND, failure->kind);
	if (failure->error != 0)
		length = add_integer(frame, length, TAG_ERROR_ERRNO, (uint64_t)failure->error);
	length = add_text(frame, length, TAG_ERROR_MESSAGE, failure->message);
	return finish(frame, length, FRAME_ERROR, request);
}

size_t frame_stream(uint8_t frame[AGENT_FRAME_SIZE], uint32_t process, enum stream_kind stream)
{
	size_t length = FRAME_HEADER_LENGTH;

	length = add_integer(frame, length, TAG_STREAM_PROCESS, process);
	length = add_integer(frame, length, TAG_STREAM_STREAM, stream);
	return finish(frame, length, FRAME_STREAM, 0);
}

size_t frame_done(uint8_t frame[AGENT_FRAME_SIZE], uint16_t request)
{
	return finish(frame, FRAME_HEADER_LENGTH, FRAME_DONE, request);
}

size_t frame_pong(uint8_t frame[AGENT_FRAME_SIZE], uint16_t request)
{
	return finish(frame, FRAME_HEADER_LENGTH, FRAME_PONG, request);
}
