// What it reaches beside the kernel: servers of the host and of its network.
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// After sys/socket.h, whose types it uses.
#include <linux/vm_sockets.h>

enum { CONNECT_MS = 500, VSOCK_PORT = 1 };

/** Connects within a time. The errno says why not. */
static bool connects_to(int family, const struct sockaddr *to, socklen_t length)
{
	int file = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (file < 0)
		return false;
	int error = connect(file, to, length) == 0 ? 0 : errno;
	if (error == EINPROGRESS) {
		struct pollfd waiting = { .fd = file, .events = POLLOUT };
		socklen_t size = sizeof(error);
		error = ETIMEDOUT;
		if (poll(&waiting, 1, CONNECT_MS) == 1)
			getsockopt(file, SOL_SOCKET, SO_ERROR, &error, &size);
	}
	close(file);
	errno = error;
	return error == 0;
}

static bool connects_tcp(const char *address, const char *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	errno = EADDRNOTAVAIL;
	return inet_pton(AF_INET, address, &to.sin_addr) == 1 &&
	       connects_to(AF_INET, (struct sockaddr *)&to, sizeof(to));
}

static bool connects_abstract(const char *name)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	// The first byte is NUL.
	size_t length = strlen(name) < sizeof(to.sun_path) - 1 ? strlen(name) : sizeof(to.sun_path) - 1;
	memcpy(to.sun_path + 1, name, length);
	socklen_t exact = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
	// Some versions of Node.js fill the name with NULs.
	return connects_to(AF_UNIX, (struct sockaddr *)&to, exact) ||
	       connects_to(AF_UNIX, (struct sockaddr *)&to, sizeof(to));
}

static bool connects_unix(const char *const *paths)
{
	for (; *paths != NULL; paths++) {
		struct sockaddr_un to = { .sun_family = AF_UNIX };
		snprintf(to.sun_path, sizeof(to.sun_path), "%s", *paths);
		if (connects_to(AF_UNIX, (struct sockaddr *)&to, sizeof(to)))
			return true;
	}
	return false;
}

/** A refusal comes from the host, too. */
static bool reaches_vsock(void)
{
	struct sockaddr_vm to = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = VSOCK_PORT };
	return connects_to(AF_VSOCK, (struct sockaddr *)&to, sizeof(to)) || errno == ECONNRESET;
}

void probe_reach(const struct host *host)
{
	static const char *const ENGINES[] = { "/run/docker.sock", "/var/run/docker.sock",
					       "/run/containerd/containerd.sock", "/run/podman/podman.sock", NULL };
	static const char *const BUSES[] = { "/run/dbus/system_bus_socket", "/run/systemd/private", NULL };
	probe_tell("loopback", connects_tcp("127.0.0.1", host->port));
	probe_tell("network", connects_tcp(host->address, host->port));
	probe_tell("metadata", connects_tcp("169.254.169.254", "80"));
	probe_tell("abstract-socket", connects_abstract(host->name));
	probe_tell("vsock", reaches_vsock());
	probe_tell("engine-socket", connects_unix(ENGINES));
	probe_tell("system-bus", connects_unix(BUSES));
}
