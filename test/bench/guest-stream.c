// Measures the speed of a stream between guest and host. In the guest:
//
//     stream vsock PORT | stream DEVICE | stream tcp PORT
//
// sends bytes in bulk, receives as many, then sends single bytes and waits for each to come back.
// It prints three numbers. On the host, for one stream:
//
//     stream listen PATH        the other end, over a unix socket
//     stream listen-tcp PORT    the other end of `stream tcp`
//
// The host answers the guest's bulk with one byte. Over TCP the guest is 198.19.0.2, the host
// 198.19.0.1.
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../../guest-agent/base/linux.h"

enum { MIB = 1 << 20, MIBS = 128, PIECE = 65536, ROUND_TRIPS = 3000 };

static char buffer[PIECE];

static double seconds(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void send_bytes(int stream, size_t length)
{
	while (length > 0) {
		ssize_t count = write(stream, buffer, length < PIECE ? length : PIECE);
		if (count <= 0)
			fail("write");
		length -= (size_t)count;
	}
}

static void take_bytes(int stream, size_t length)
{
	while (length > 0) {
		ssize_t count = read(stream, buffer, length < PIECE ? length : PIECE);
		if (count <= 0)
			fail("read");
		length -= (size_t)count;
	}
}

static int open_vsock(unsigned port)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port };
	int stream = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (stream < 0 || connect(stream, (struct sockaddr *)&address, sizeof address))
		fail("vsock");
	return stream;
}

static int accept_unix(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1))
		fail(path);
	return accept(listener, NULL, NULL);
}

static struct sockaddr_in internet(const char *address, int port)
{
	struct sockaddr_in result = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	inet_pton(AF_INET, address, &result.sin_addr);
	return result;
}

static void configure(int control, unsigned long request, const char *address)
{
	struct ifreq interface = { .ifr_name = "eth0" };
	struct sockaddr_in value = internet(address, 0);
	memcpy(&interface.ifr_addr, &value, sizeof value);
	if (ioctl(control, request, &interface))
		fail("eth0");
}

static int without_delay(int stream)
{
	int on = 1;
	setsockopt(stream, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return stream;
}

static int open_tcp(int port)
{
	struct ifreq up = { .ifr_name = "eth0", .ifr_flags = IFF_UP };
	struct sockaddr_in host = internet("198.19.0.1", port);
	int stream = socket(AF_INET, SOCK_STREAM, 0);
	configure(stream, SIOCSIFADDR, "198.19.0.2");
	configure(stream, SIOCSIFNETMASK, "255.255.255.0");
	if (ioctl(stream, SIOCSIFFLAGS, &up) || connect(stream, (struct sockaddr *)&host, sizeof host))
		fail("tcp");
	return without_delay(stream);
}

static int accept_tcp(int port)
{
	struct sockaddr_in address = internet("127.0.0.1", port);
	int on = 1;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1))
		fail("listen");
	puts("listening");
	fflush(stdout);
	return without_delay(accept(listener, NULL, NULL));
}

static void serve(int stream)
{
	take_bytes(stream, (size_t)MIBS * MIB);
	send_bytes(stream, 1);
	take_bytes(stream, 1);
	send_bytes(stream, (size_t)MIBS * MIB);
	while (read(stream, buffer, 1) == 1)
		send_bytes(stream, 1);
}

static void measure(int stream)
{
	double start = seconds();
	send_bytes(stream, (size_t)MIBS * MIB);
	take_bytes(stream, 1);
	double sent = seconds();
	send_bytes(stream, 1);
	take_bytes(stream, (size_t)MIBS * MIB);
	double taken = seconds();
	for (int trip = 0; trip < ROUND_TRIPS; trip++) {
		send_bytes(stream, 1);
		take_bytes(stream, 1);
	}
	double end = seconds();
	printf("stream: %.1f %.1f %.2f.\n", MIBS / (sent - start), MIBS / (taken - sent),
	       (end - taken) / ROUND_TRIPS * 1e6);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "listen") == 0)
		serve(accept_unix(argv[2]));
	else if (argc == 3 && strcmp(argv[1], "vsock") == 0)
		measure(open_vsock((unsigned)atoi(argv[2])));
	else if (argc == 3 && strcmp(argv[1], "listen-tcp") == 0)
		serve(accept_tcp(atoi(argv[2])));
	else if (argc == 3 && strcmp(argv[1], "tcp") == 0)
		measure(open_tcp(atoi(argv[2])));
	else if (argc == 2)
		measure(open(argv[1], O_RDWR));
	else
		return 2;
	return 0;
}
