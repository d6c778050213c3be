// Connections to the host.
#ifndef TSVM_CONNECTION_H
#define TSVM_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

// Connects to the host's unix socket at `path` instead of its vsock port, to be tested. Ports other than the
// agent's are at `path`_PORT.
void connection_use_unix(const char *path);

// Opens a non-blocking connection to a port of the host; it may still be on its way. -1 and errno on failure.
int connection_open(uint32_t port);

// True when a connection that became writable was in fact made.
bool connection_established(int connection);

#endif
