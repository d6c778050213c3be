// Asks a gauge that serves in a sandbox (serve.c) to run a command, and is that command to the caller:
// its output, its exit code.
#include "gauge.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MOST_BYTES = 65536 };

static void need(bool done, const char *what)
{
	if (done)
		return;
	if (errno == 0)
		errno = EPIPE;
	gauge_fail(what);
}

static bool read_all(int file, void *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		errno = 0;
		ssize_t count = read(file, (char *)bytes + done, size - done);
		if (count <= 0)
			return false;
		done += (size_t)count;
	}
	return true;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	need(strlen(path) < sizeof(address.sun_path), path);
	strcpy(address.sun_path, path);
	int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	need(file >= 0 && connect(file, (struct sockaddr *)&address, sizeof(address)) == 0, path);
	return file;
}

/** The greeting of a hybrid vsock: `CONNECT PORT`, answered by `OK PORT`. */
static void connect_vsock(int file, const char *port)
{
	char line[64];
	int size = snprintf(line, sizeof(line), "CONNECT %s\n", port);
	need(write(file, line, (size_t)size) == size, "CONNECT");
	size_t length = 0;
	do
		need(length < sizeof(line) - 1 && read_all(file, line + length, 1), "CONNECT");
	while (line[length++] != '\n');
	errno = ECONNREFUSED;
	need(strncmp(line, "OK ", 3) == 0, "CONNECT");
}

int gauge_ask(const char *path, const char *port, char **command)
{
	static char bytes[MOST_BYTES];
	int file = connect_to(path);
	if (strcmp(port, "0") != 0)
		connect_vsock(file, port);
	uint32_t size = 0;
	for (char **word = command; *word != NULL; word++) {
		size_t length = strlen(*word) + 1;
		errno = E2BIG;
		need(sizeof(size) + size + length <= sizeof(bytes), "request");
		memcpy(bytes + sizeof(size) + size, *word, length);
		size += (uint32_t)length;
	}
	memcpy(bytes, &size, sizeof(size));
	need(write(file, bytes, sizeof(size) + size) == (ssize_t)(sizeof(size) + size), "request");
	for (;;) {
		char head[5];
		need(read_all(file, head, sizeof(head)), "answer");
		memcpy(&size, head + 1, sizeof(size));
		errno = EPROTO;
		need(size > 0 && size <= sizeof(bytes), "answer");
		need(read_all(file, bytes, size), "answer");
		if (head[0] == 'x')
			return (unsigned char)bytes[0];
		int to = head[0] == '1' ? STDOUT_FILENO : STDERR_FILENO;
		need(write(to, bytes, size) == (ssize_t)size, "output");
	}
}
