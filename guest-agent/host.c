// Connections to the host: vsock, or a unix socket in tests.
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "linux.h"
#include "protocol.h"

static const char *unix_path;

void host_use_unix(const char *path)
{
	unix_path = path;
}

static int connect_vsock(void)
{
	const struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_port = AGENT_PORT,
		.svm_cid = VMADDR_CID_HOST,
	};
	int connection = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (connection >= 0 && connect(connection, (const struct sockaddr *)&address, sizeof address) != 0 &&
	    errno != EINPROGRESS) {
		close(connection);
		return -1;
	}
	return connection;
}

// Blocks for as long as the listener's backlog is full, which a non-blocking connect would report as an error.
static int connect_unix(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int connection;

	if (strlen(unix_path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, unix_path);
	connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection >= 0 && (connect(connection, (const struct sockaddr *)&address, sizeof address) != 0 ||
				fcntl(connection, F_SETFL, O_NONBLOCK) != 0)) {
		close(connection);
		return -1;
	}
	return connection;
}

int host_connect(void)
{
	return unix_path != NULL ? connect_unix() : connect_vsock();
}

bool host_connected(int connection)
{
	int error = 0;
	socklen_t length = sizeof error;

	return getsockopt(connection, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0;
}
