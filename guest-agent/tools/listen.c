// The tool that listens on a unix socket of the container for the host.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/files.h"
#include "tools/tool.h"

// PROTOCOL.md, "Connections of listen".
enum {
	HEADER = 8,
	CHUNK = 65536,
	MAX_CLIENTS = 16,
	// Clients that wait. A client that does not wait itself is refused (EAGAIN) beyond them.
	BACKLOG = 128,
	// A client that reads nothing for so long is closed.
	WRITE_SECONDS = 10,
};

struct client {
	int socket;  // 0: there is none
	uint32_t id; // 0: it has sent nothing yet
	bool ended;  // it sends no more
};

static struct client clients[MAX_CLIENTS];
static uint32_t last_id;
static uint8_t frame[HEADER + CHUNK];

static bool write_all(int file, const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t count = write(file, bytes, length);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return false;
		bytes += count;
		length -= (size_t)count;
	}
	return true;
}

// Returns false, with errno 0 at the end of the file.
static bool read_all(int file, uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t count = read(file, bytes, length);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0) {
			errno = count == 0 ? 0 : errno;
			return false;
		}
		bytes += count;
		length -= (size_t)count;
	}
	return true;
}

static void put_number(uint8_t *bytes, uint32_t number)
{
	for (int i = 0; i < 4; i++)
		bytes[i] = (uint8_t)(number >> (24 - 8 * i));
}

static uint32_t get_number(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

// Sends the first `length` bytes behind the header of `frame`. None: the end.
static bool send_frame(uint32_t id, size_t length)
{
	put_number(frame, id);
	put_number(frame + 4, (uint32_t)length);
	return write_all(STDOUT_FILENO, frame, HEADER + length);
}

static struct client *find_client(uint32_t id)
{
	for (size_t i = 0; i < MAX_CLIENTS; i++) {
		if (clients[i].socket != 0 && clients[i].id == id)
			return &clients[i];
	}
	return NULL;
}

static struct client *find_room(void)
{
	for (size_t i = 0; i < MAX_CLIENTS; i++) {
		if (clients[i].socket == 0)
			return &clients[i];
	}
	return NULL;
}

static void close_client(struct client *client)
{
	close(client->socket);
	*client = (struct client){ 0 };
}

static bool accept_client(int listener, struct client *client)
{
	const struct timeval patience = { .tv_sec = WRITE_SECONDS };
	int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (accepted < 0)
		return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
	*client = (struct client){ .socket = accepted };
	return setsockopt(accepted, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0;
}

// Sends the host what the client has sent. IDs are in the order of the first frames that have them:
// so the host knows a new one.
static bool take_bytes(struct client *client)
{
	ssize_t count = recv(client->socket, frame + HEADER, CHUNK, MSG_DONTWAIT);

	if (count < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (client->id == 0 && last_id == UINT32_MAX) {
		errno = EOVERFLOW;
		return false;
	}
	if (client->id == 0)
		client->id = ++last_id;
	client->ended = count <= 0;
	return send_frame(client->id, count > 0 ? (size_t)count : 0);
}

// Gives a client what the host has sent. Returns false at the end of stdin, with errno 0, and on an
// error.
static bool take_frame(void)
{
	struct client *client;
	uint32_t id;
	size_t length;

	if (!read_all(STDIN_FILENO, frame, HEADER))
		return false;
	id = get_number(frame);
	length = get_number(frame + 4);
	if (id == 0 || length > CHUNK) {
		errno = EPROTO;
		return false;
	}
	if (!read_all(STDIN_FILENO, frame + HEADER, length))
		return false;
	client = find_client(id);
	if (client == NULL)
		return true;
	if (length == 0) {
		close_client(client);
		return true;
	}
	if (write_all(client->socket, frame + HEADER, length))
		return true;
	// Its place is free only once the host has closed it, which counts it until then.
	shutdown(client->socket, SHUT_RDWR);
	if (client->ended)
		return true;
	client->ended = true;
	return send_frame(id, 0);
}

static bool serve(int listener)
{
	for (;;) {
		struct client *room = find_room();
		struct pollfd waits[2 + MAX_CLIENTS] = {
			{ .fd = STDIN_FILENO, .events = POLLIN },
			{ .fd = room != NULL ? listener : -1, .events = POLLIN },
		};

		for (size_t i = 0; i < MAX_CLIENTS; i++) {
			bool sends = clients[i].socket != 0 && !clients[i].ended;

			waits[2 + i] = (struct pollfd){ .fd = sends ? clients[i].socket : -1, .events = POLLIN };
		}
		if (poll(waits, 2 + MAX_CLIENTS, -1) < 0) {
			if (errno == EINTR)
				continue;
			return false;
		}
		for (size_t i = 0; i < MAX_CLIENTS; i++) {
			if (waits[2 + i].revents != 0 && !take_bytes(&clients[i]))
				return false;
		}
		if (waits[1].revents != 0 && !accept_client(listener, room))
			return false;
		if (waits[0].revents != 0 && !take_frame())
			return errno == 0;
	}
}

// Returns false for a text that is no number of this base up to `most`.
static bool parse_number(const char *text, int base, uint32_t most, uint32_t *number)
{
	char *end;
	unsigned long long value = strtoull(text, &end, base);

	*number = (uint32_t)value;
	return *text >= '0' && *text <= '9' && *end == '\0' && value <= most;
}

// Returns a socket that listens at `path`, or -1. Nobody else connects before it has its owner.
static int listen_at(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	umask(0777);
	if (listener < 0 || bind(listener, (const struct sockaddr *)&address, sizeof address) != 0 ||
	    listen(listener, BACKLOG) != 0 || lchown(path, uid, gid) != 0 || chmod(path, mode) != 0)
		return -1;
	return listener;
}

// listen PATH MODE UID GID: listens on a unix socket that it makes at PATH, and carries up to 16
// connections at once to the host. Ends at the end of stdin.
bool tool_listen(char **arguments)
{
	uint32_t mode;
	uint32_t uid;
	uint32_t gid;
	int listener;

	for (int i = 0; i < 4; i++) {
		if (arguments[i] == NULL)
			return tool_bad_arguments();
	}
	if (!parse_number(arguments[1], 8, 07777, &mode) || !parse_number(arguments[2], 10, UINT32_MAX - 1, &uid) ||
	    !parse_number(arguments[3], 10, UINT32_MAX - 1, &gid))
		return tool_bad_arguments();
	signal(SIGPIPE, SIG_IGN);
	listener = listen_at(arguments[0], (mode_t)mode, (uid_t)uid, (gid_t)gid);
	return (listener >= 0 && send_frame(0, 0) && serve(listener)) || print_error(arguments[0]);
}
