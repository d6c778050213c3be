// Starts commands in a sandbox that has no way of its own to enter it: the gauge waits inside, on a
// socket, a virtio port or vsock, and another gauge on the host asks it (ask.c).
//
// A request is a length and the words of a command, each with its NUL. Answers are frames: a kind, a
// length, and bytes of stdout, bytes of stderr, or, as the last, the exit code. Lengths have 4 bytes,
// little-endian.
#include "gauge.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// After sys/socket.h, whose types it uses.
#include <linux/vm_sockets.h>

enum { MOST_BYTES = 65536, MOST_WORDS = 256, NOT_FOUND = 127, BY_SIGNAL = 128, RETRY_MS = 5 };

static bool read_all(int file, void *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t count = read(file, (char *)bytes + done, size - done);
		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return false;
		done += (size_t)count;
	}
	return true;
}

static bool write_all(int file, const void *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t count = write(file, (const char *)bytes + done, size - done);
		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return false;
		done += (size_t)count;
	}
	return true;
}

static bool send_frame(int file, char kind, const void *bytes, uint32_t size)
{
	char head[5] = { kind };
	memcpy(head + 1, &size, sizeof(size));
	return write_all(file, head, sizeof(head)) && write_all(file, bytes, size);
}

static int exit_code(pid_t child)
{
	int status;
	while (waitpid(child, &status, 0) != child)
		if (errno != EINTR)
			return NOT_FOUND;
	return WIFSIGNALED(status) ? BY_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

/** Passes on what a command says until both of its streams end. */
static void pass_streams(int file, int from[2])
{
	static char bytes[MOST_BYTES];
	struct pollfd streams[2] = { { .fd = from[0], .events = POLLIN }, { .fd = from[1], .events = POLLIN } };
	while (streams[0].fd >= 0 || streams[1].fd >= 0) {
		if (poll(streams, 2, -1) < 0 && errno != EINTR)
			return;
		for (int index = 0; index < 2; index++) {
			if (streams[index].fd < 0 || streams[index].revents == 0)
				continue;
			ssize_t count = read(streams[index].fd, bytes, sizeof(bytes));
			if (count > 0 && send_frame(file, index == 0 ? '1' : '2', bytes, (uint32_t)count))
				continue;
			close(streams[index].fd);
			streams[index].fd = -1;
		}
	}
}

static void run_command(int file, char **words)
{
	int out[2];
	int err[2];
	if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
		gauge_fail("pipe2");
	pid_t child = fork();
	if (child < 0)
		gauge_fail("fork");
	if (child == 0) {
		dup2(out[1], STDOUT_FILENO);
		dup2(err[1], STDERR_FILENO);
		execvp(words[0], words);
		fprintf(stderr, "%s: %s\n", words[0], strerror(errno));
		_exit(NOT_FOUND);
	}
	close(out[1]);
	close(err[1]);
	pass_streams(file, (int[]){ out[0], err[0] });
	unsigned char code = (unsigned char)exit_code(child);
	send_frame(file, 'x', &code, 1);
}

/** Answers one request. Returns false at the end of the connection. */
static bool answer(int file)
{
	static char bytes[MOST_BYTES + 1];
	char *words[MOST_WORDS + 1];
	uint32_t size;
	if (!read_all(file, &size, sizeof(size)) || size == 0 || size > MOST_BYTES || !read_all(file, bytes, size))
		return false;
	bytes[size] = '\0';
	size_t count = 0;
	for (char *word = bytes; word < bytes + size && count < MOST_WORDS; word += strlen(word) + 1)
		words[count++] = word;
	words[count] = NULL;
	run_command(file, words);
	return true;
}

/** Opens the virtio port of the name. */
static int open_port(const char *name)
{
	static const char FOLDER[] = "/sys/class/virtio-ports";
	DIR *folder = opendir(FOLDER);
	if (folder == NULL)
		return -1;
	int port = -1;
	for (struct dirent *entry; port < 0 && (entry = readdir(folder)) != NULL;) {
		char path[sizeof(FOLDER) + sizeof(entry->d_name) + sizeof("//name")];
		char found[64] = "";
		snprintf(path, sizeof(path), "%s/%s/name", FOLDER, entry->d_name);
		int file = open(path, O_RDONLY | O_CLOEXEC);
		if (file < 0)
			continue;
		if (read(file, found, sizeof(found) - 1) > 0)
			found[strcspn(found, "\n")] = '\0';
		close(file);
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		if (strcmp(found, name) == 0)
			port = open(path, O_RDWR | O_CLOEXEC);
	}
	closedir(folder);
	return port;
}

static void wait_a_little(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = RETRY_MS * 1000000 }, NULL);
}

/** A port has one connection at a time, and no end of file that waits: it reads nothing without one. */
static _Noreturn void serve_port(const char *name)
{
	int port;
	while ((port = open_port(name)) < 0)
		wait_a_little();
	for (;;)
		if (!answer(port))
			wait_a_little();
}

static _Noreturn void serve_socket(int socket)
{
	for (;;) {
		int connection = accept4(socket, NULL, NULL, SOCK_CLOEXEC);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (connection < 0)
			continue;
		if (fork() == 0) {
			answer(connection);
			_exit(0);
		}
		close(connection);
	}
}

static int bound_unix(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(address.sun_path))
		return -1;
	strcpy(address.sun_path, path);
	int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return file >= 0 && bind(file, (struct sockaddr *)&address, sizeof(address)) == 0 ? file : -1;
}

static int bound_vsock(const char *port)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK,
				       .svm_cid = VMADDR_CID_ANY,
				       .svm_port = (unsigned)strtoul(port, NULL, 10) };
	int file = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return file >= 0 && bind(file, (struct sockaddr *)&address, sizeof(address)) == 0 ? file : -1;
}

int gauge_serve(const char *channel, char **command)
{
	const char *name = strchr(channel, ':');
	if (name == NULL) {
		fprintf(stderr, "tsvm-gauge: no channel is named %s\n", channel);
		return 125;
	}
	name++;
	// Before the command says that it is ready.
	int socket = -1;
	if (strncmp(channel, "unix:", 5) == 0)
		socket = bound_unix(name);
	if (strncmp(channel, "vsock:", 6) == 0)
		socket = bound_vsock(name);
	bool is_port = strncmp(channel, "port:", 5) == 0;
	if (!is_port && (socket < 0 || listen(socket, 16) != 0))
		gauge_fail(channel);
	pid_t child = fork();
	if (child < 0)
		gauge_fail("fork");
	if (child == 0) {
		execv(command[0], command);
		gauge_fail(command[0]);
	}
	if (is_port)
		serve_port(name);
	serve_socket(socket);
}
