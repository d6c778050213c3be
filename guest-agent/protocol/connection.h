// Connections to the host.
#ifndef TSVM_CONNECTION_H
#define TSVM_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

// In tests, connects to the unix socket at `path` instead of the host's vsock port. Ports other
// than the agent's are at `path`_PORT.
void connection_use_unix(const char *path);

// Opens a non-blocking connection to a port of the host. It may not be established yet. Returns -1,
// with errno, on failure.
int connection_open(uint32_t port);

// Returns true if a connection that became writable is established, false if it failed.
bool connection_established(int connection);

#endif
