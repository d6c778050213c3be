// Connections to the host: vsock, or a unix socket in tests.
#include "protocol/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/linux.h"
#include "protocol/protocol.h"

static const char *unix_path;

void connection_use_unix(const char *path)
{
	unix_path = path;
}

// The kernel gives up after two seconds otherwise, also on a connection that does not block. The
// device always answers, but a busy host may keep its process waiting for longer: the host gives a
// process that starts as long. The kernel keeps the socket for all of the time, though it is closed
// before.
static const struct timeval patience = { .tv_sec = 120 };

static int connect_vsock(uint32_t port)
{
	const struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_port = port,
		.svm_cid = VMADDR_CID_HOST,
	};
	int connection = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (connection >= 0 &&
	    (setsockopt(connection, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience, sizeof patience) != 0 ||
	     (connect(connection, (const struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS))) {
		close(connection);
		return -1;
	}
	return connection;
}

// Blocks while the listener's backlog is full. A non-blocking connect would fail with an error.
static int connect_unix(uint32_t port)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const size_t size = sizeof address.sun_path;
	int connection;
	int length;

	if (port == AGENT_PORT)
		length = snprintf(address.sun_path, size, "%s", unix_path);
	else
		length = snprintf(address.sun_path, size, "%s_%u", unix_path, port);
	if (length < 0 || (size_t)length >= size) {
		errno = ENAMETOOLONG;
		return -1;
	}
	connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection >= 0 && (connect(connection, (const struct sockaddr *)&address, sizeof address) != 0 ||
				fcntl(connection, F_SETFL, O_NONBLOCK) != 0)) {
		close(connection);
		return -1;
	}
	return connection;
}

int connection_open(uint32_t port)
{
	return unix_path != NULL ? connect_unix(port) : connect_vsock(port);
}

bool connection_established(int connection)
{
	int error = 0;
	socklen_t length = sizeof error;

	return getsockopt(connection, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0;
}
