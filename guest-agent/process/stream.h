// The streams of processes. Each is a connection to the host, joined to a pipe or a terminal.
// PROTOCOL.md, "Streams".
#ifndef TSVM_STREAM_H
#define TSVM_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Opens the connection and joins it to the non-blocking `descriptor`: the read end of the process's
// stdout or stderr, or the write end of its stdin. The stream owns the descriptor, also after a
// failure. For a terminal, which is joined later, it is -1.
bool stream_open(const struct process_request *process, enum stream_kind kind, int descriptor, struct failure *failure);

// Joins a terminal stream to the master, which the stream then owns.
void stream_join_terminal(uint32_t process, int master);

// The process is gone: its terminal ends once no other process has it open.
void stream_release_terminal(uint32_t process);

// Returns the master of a process's terminal stream, or -1.
int stream_terminal(uint32_t process);

// Takes over what the host has sent so far, as far as there is room, because a connection does not
// outlive a copy of the machine.
void stream_take_input_all(void);

// The connections to the host are gone: opens a new one for each stream that has not ended. What is
// buffered is kept. A stream whose listener is gone too ends, as if the host had closed it.
void stream_reconnect_all(void);

// Returns true, until the next `stream_watch_all`, if the host has closed the stdout of a process
// before its end.
bool stream_output_is_deserted(uint32_t process);

// Ends all streams of a process at once.
void stream_drop(uint32_t process);

// Watches all streams for the coming turn of the loop, and frees the ended ones.
void stream_watch_all(void);

#endif
