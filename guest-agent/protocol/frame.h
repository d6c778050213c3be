// Frames on the wire: cuts the host's bytes into frames, and writes the agent's. PROTOCOL.md,
// "Frames".
#ifndef TSVM_FRAME_H
#define TSVM_FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Large enough for any frame that the agent sends.
enum { AGENT_FRAME_SIZE = 1024 };

enum frame_event {
	FRAME_INCOMPLETE, // all given bytes are taken, none completed a frame
	FRAME_COMPLETE,   // a frame is there: take its payload by frame_reader_take()
	FRAME_OVERSIZED,  // type and request are known; the payload will be skipped
	FRAME_NO_MEMORY,  // as FRAME_OVERSIZED
};

struct frame_reader {
	uint8_t header[FRAME_HEADER_LENGTH];
	size_t header_length;
	size_t payload_length; // bytes of it that have arrived
	uint64_t skip;         // bytes of a refused payload still to come

	uint32_t length;
	uint16_t type;
	uint16_t request;
	uint8_t *payload;
};

// Takes bytes up to the end of one frame. Stores their number in `taken`.
enum frame_event frame_reader_push(struct frame_reader *reader, const uint8_t *bytes, size_t count, size_t *taken);

// Returns the payload of the complete frame, which the caller frees. The reader is ready for the
// next frame.
uint8_t *frame_reader_take(struct frame_reader *reader);

// Each writes one frame and returns its length.
size_t frame_hello(uint8_t frame[AGENT_FRAME_SIZE], const char *kernel, uint64_t running_microseconds);
// The hello of a restored machine, which `processes` frames `running` follow.
size_t frame_hello_again(uint8_t frame[AGENT_FRAME_SIZE], const char *kernel, uint64_t running_microseconds,
			 size_t processes);
size_t frame_running(uint8_t frame[AGENT_FRAME_SIZE], uint32_t process, uint32_t container, pid_t pid);
size_t frame_started(uint8_t frame[AGENT_FRAME_SIZE], uint16_t request, uint32_t process, pid_t pid);
size_t frame_exited(uint8_t frame[AGENT_FRAME_SIZE], uint32_t process, uint32_t container, int wait_status,
		    bool oom_killed);
size_t frame_error(uint8_t frame[AGENT_FRAME_SIZE], uint16_t request, const struct failure *failure);
size_t frame_stream(uint8_t frame[AGENT_FRAME_SIZE], uint32_t process, enum stream_kind stream);
size_t frame_done(uint8_t frame[AGENT_FRAME_SIZE], uint16_t request);
size_t frame_pong(uint8_t frame[AGENT_FRAME_SIZE], uint16_t request);

#endif
