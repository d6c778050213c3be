// The two ends of the benchmark `flows`: many connections at little cost of their own.
//   serve PORT                      prints a line, and serves until it is killed
//   short HOST PORT COUNT WIDTH     short connections, WIDTH at once: prints seconds and failures
//   hold HOST PORT COUNT            opens connections, prints a line, and ends with its stdin
//   turns HOST PORT COUNT           round trips of a byte: prints seconds
//   down HOST PORT BYTES, up ...    one stream: prints seconds
// The first byte of a connection says what is wanted: r (a request of 100 bytes, whose answer has as
// many), e (each byte comes back), d (8 bytes of length, as many come back), u (counted to the end).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 100
#define MAX_FDS 262144
#define EVENTS 256
// Seconds for which a held connection waits for its peer.
#define PATIENCE 20

static char buffer[1 << 18];
static struct {
	char kind;
	uint64_t count;
	uint64_t left;
} state[MAX_FDS];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void watch(int epoll, int operation, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };
	if (epoll_ctl(epoll, operation, fd, &event) < 0)
		die("epoll_ctl");
}

static socklen_t to_address(struct sockaddr_storage *address, const char *host, int port)
{
	memset(address, 0, sizeof *address);
	struct sockaddr_in *v4 = (struct sockaddr_in *)address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		return sizeof *v4;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) != 1)
		die(host);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)port);
	return sizeof *v6;
}

static int open_socket(const struct sockaddr_storage *address, socklen_t length, int flags)
{
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	if (fd < 0 || fd >= MAX_FDS)
		die("socket");
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	memset(&state[fd], 0, sizeof state[fd]);
	if (connect(fd, (const struct sockaddr *)address, length) < 0 && errno != EINPROGRESS) {
		int error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

// Sends what a connection of kind d is still to get. Returns 0 when it has ended.
static int give(int epoll, int fd)
{
	while (state[fd].left > 0) {
		size_t wanted = state[fd].left < sizeof buffer ? state[fd].left : sizeof buffer;
		ssize_t sent = send(fd, buffer, wanted, MSG_NOSIGNAL);
		if (sent < 0 && errno == EAGAIN) {
			watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT);
			return 1;
		}
		if (sent < 0)
			return 0;
		state[fd].left -= (uint64_t)sent;
	}
	return 0;
}

// Returns 0 when the connection has ended.
static int answer(int epoll, int fd, uint32_t events)
{
	if (state[fd].left > 0 && events & EPOLLOUT)
		return give(epoll, fd);
	for (;;) {
		ssize_t got = recv(fd, buffer, sizeof buffer, 0);
		if (got < 0)
			return errno == EAGAIN;
		if (got > 0 && state[fd].kind == 0)
			state[fd].kind = buffer[0];
		char kind = state[fd].kind;
		if (got == 0 && kind == 'u')
			send(fd, &state[fd].count, sizeof state[fd].count, MSG_NOSIGNAL);
		if (got == 0)
			return 0;
		state[fd].count += (uint64_t)got;
		if (kind == 'e')
			send(fd, buffer, (size_t)got, MSG_NOSIGNAL);
		if (kind == 'r' && state[fd].count >= MESSAGE) {
			send(fd, buffer, MESSAGE, MSG_NOSIGNAL);
			return 0;
		}
		if (kind == 'd' && state[fd].left == 0 && got >= 9) {
			memcpy(&state[fd].left, buffer + 1, 8);
			return give(epoll, fd);
		}
	}
}

static void serve(int port)
{
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int one = 1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0)
		die("bind");
	if (listen(listener, 65535) < 0)
		die("listen");
	int epoll = epoll_create1(0);
	watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN);
	puts("up");
	fflush(stdout);
	struct epoll_event events[EVENTS];
	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS, -1);
		for (int at = 0; at < count; at++) {
			int fd = events[at].data.fd;
			if (fd != listener) {
				if (!answer(epoll, fd, events[at].events))
					close(fd);
				continue;
			}
			int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
			if (client < 0)
				continue;
			if (client >= MAX_FDS)
				die("too many connections");
			memset(&state[client], 0, sizeof state[client]);
			watch(epoll, EPOLL_CTL_ADD, client, EPOLLIN);
		}
	}
}

// Short connections: each byte is counted, and each end. A failure is told by its errno.
static void short_connections(const struct sockaddr_storage *address, socklen_t length, long total, int width)
{
	int epoll = epoll_create1(0);
	long begun = 0, done = 0, failed = 0;
	int last_error = 0;
	double start = now();
	struct epoll_event events[EVENTS];
	for (int open = 0; done < total;) {
		while (open < width && begun < total) {
			begun++;
			int fd = open_socket(address, length, SOCK_NONBLOCK);
			if (fd < 0) {
				last_error = errno;
				failed++;
				done++;
				continue;
			}
			open++;
			watch(epoll, EPOLL_CTL_ADD, fd, EPOLLOUT);
		}
		int count = epoll_wait(epoll, events, EVENTS, -1);
		for (int at = 0; at < count; at++) {
			int fd = events[at].data.fd;
			if (state[fd].kind == 0) {
				int error = 0;
				socklen_t size = sizeof error;
				getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
				memset(buffer, 'r', MESSAGE);
				if (error == 0 && send(fd, buffer, MESSAGE, MSG_NOSIGNAL) == MESSAGE) {
					state[fd].kind = 'r';
					watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN);
					continue;
				}
				errno = error;
			} else {
				ssize_t got = recv(fd, buffer, MESSAGE, 0);
				if (got < 0 && errno == EAGAIN)
					continue;
				if (got > 0) {
					state[fd].count += (uint64_t)got;
					continue;
				}
				if (got == 0)
					errno = 0;
			}
			if (state[fd].count != MESSAGE || errno != 0) {
				last_error = errno;
				failed++;
			}
			close(fd);
			open--;
			if (++done % 50000 == 0)
				fprintf(stderr, "%ld of %ld, %.0f s, %ld failed\n", done, total, now() - start, failed);
		}
	}
	printf("%.3f %ld %s\n", now() - start, failed, failed > 0 ? strerror(last_error) : "-");
}

static void hold(const struct sockaddr_storage *address, socklen_t length, int count)
{
	for (int each = 0; each < count; each++) {
		int fd = open_socket(address, length, 0);
		char byte = 'e';
		if (fd < 0 || send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1)
			die("hold");
	}
	puts("held");
	fflush(stdout);
	while (read(0, buffer, sizeof buffer) > 0)
		;
}

static void turns(int fd, long count)
{
	double start = now();
	for (char byte = 'e'; count > 0; count--) {
		if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1)
			die("turns");
	}
	printf("%.6f\n", now() - start);
}

static void stream(int fd, char kind, uint64_t bytes)
{
	double start = now();
	buffer[0] = kind;
	memcpy(buffer + 1, &bytes, 8);
	if (kind == 'd' && send(fd, buffer, 9, MSG_NOSIGNAL) != 9)
		die("send");
	uint64_t done = 0;
	while (kind == 'u' && done < bytes) {
		ssize_t sent =
			send(fd, buffer, bytes - done < sizeof buffer ? bytes - done : sizeof buffer, MSG_NOSIGNAL);
		if (sent < 0)
			die("send");
		done += (uint64_t)sent;
	}
	if (kind == 'u') {
		shutdown(fd, SHUT_WR);
		if (recv(fd, &done, sizeof done, MSG_WAITALL) != sizeof done)
			die("recv");
	}
	for (ssize_t got; kind == 'd' && (got = recv(fd, buffer, sizeof buffer, 0)) != 0; done += (uint64_t)got) {
		if (got < 0)
			die("recv");
	}
	if (done != bytes) {
		fprintf(stderr, "%lu of %lu bytes\n", done, bytes);
		exit(1);
	}
	printf("%.6f\n", now() - start);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve(atoi(argv[2]));
	if (argc < 5)
		return 2;
	struct sockaddr_storage address;
	socklen_t length = to_address(&address, argv[2], atoi(argv[3]));
	long count = atol(argv[4]);
	if (strcmp(argv[1], "short") == 0) {
		short_connections(&address, length, count, argc > 5 ? atoi(argv[5]) : 1);
		return 0;
	}
	if (strcmp(argv[1], "hold") == 0) {
		hold(&address, length, (int)count);
		return 0;
	}
	int fd = open_socket(&address, length, 0);
	if (fd < 0)
		die("connect");
	if (strcmp(argv[1], "turns") == 0)
		turns(fd, count);
	else
		stream(fd, argv[1][0], (uint64_t)count);
	return 0;
}
