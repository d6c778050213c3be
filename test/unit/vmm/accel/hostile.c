// Takes the filter of a machine process (or of it and a vCPU's thread) in its place, from files of
// `struct sock_filter`, and makes one system call that the process never needs.
// Usage: hostile CALL FILTER... Exits with 0 if the call returned, whatever it returned.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_FILTERS 2
static struct sock_filter code[MAX_FILTERS][4096];
static struct sock_fprog programs[MAX_FILTERS];
static char *const no_words[] = { NULL };
static const int on = 1;

/*
 * Sockets as the owner gives them, connected with ports of this process; and where they may not go. A
 * ping socket is missing where the host allows none.
 */
static int tcp, udp, ping;
static struct sockaddr_in closed = { .sin_family = AF_INET };
static struct sockaddr none = { .sa_family = AF_UNSPEC };
static struct sockaddr_in own = { .sin_family = AF_INET };
static char word[] = "hostile";
static struct iovec piece = { .iov_base = word, .iov_len = sizeof word };
static struct msghdr message = {
	.msg_name = &closed, .msg_namelen = sizeof closed, .msg_iov = &piece, .msg_iovlen = 1
};
static struct mmsghdr messages = { .msg_hdr = { .msg_iov = &piece, .msg_iovlen = 1 } };

static int bound(int type, struct sockaddr_in *address)
{
	socklen_t length = sizeof *address;
	int fd = socket(AF_INET, type, 0);
	*address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (fd < 0 || bind(fd, (struct sockaddr *)address, length) != 0 ||
	    getsockname(fd, (struct sockaddr *)address, &length) != 0)
		_exit(103);
	return fd;
}

static void connect_sockets(void)
{
	struct sockaddr_in address;
	bound(SOCK_DGRAM, &closed);
	int listener = bound(SOCK_STREAM, &address);
	tcp = socket(AF_INET, SOCK_STREAM, 0);
	if (listen(listener, 1) != 0 || connect(tcp, (struct sockaddr *)&address, sizeof address) != 0)
		_exit(103);
	bound(SOCK_DGRAM, &address);
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	if (connect(udp, (struct sockaddr *)&address, sizeof address) != 0)
		_exit(103);
	ping = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
	if (ping >= 0 && connect(ping, (struct sockaddr *)&address, sizeof address) != 0)
		_exit(103);
}

static void load(int at, const char *path)
{
	FILE *file = fopen(path, "r");
	if (!file)
		_exit(100);
	size_t count = fread(code[at], sizeof code[at][0], 4096, file);
	fclose(file);
	programs[at] = (struct sock_fprog){ .len = (unsigned short)count, .filter = code[at] };
}

#define CALL(name, ...)                \
	if (strcmp(call, name) == 0) { \
		syscall(__VA_ARGS__);  \
		return 1;              \
	}

static int make(const char *call)
{
	// A control: what the process needs returns.
	CALL("futex", SYS_futex, &(int){ 0 }, 1, 1, NULL, NULL, 0)
	CALL("execve", SYS_execve, "/bin/true", no_words, no_words)
	CALL("execveat", SYS_execveat, AT_FDCWD, "/bin/true", no_words, no_words, 0)
	CALL("fork", SYS_fork)
	CALL("vfork", SYS_clone, 0x4111, 0, 0, 0, 0)
	CALL("clone3", SYS_clone3, NULL, 0)
	CALL("ptrace", SYS_ptrace, 16, 1, 0, 0)
	CALL("process_vm_readv", SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0)
	CALL("process_vm_writev", SYS_process_vm_writev, 1, NULL, 0, NULL, 0, 0)
	CALL("pidfd_getfd", SYS_pidfd_getfd, 3, 0, 0)
	CALL("pidfd_open", SYS_pidfd_open, 1, 0)
	CALL("kill", SYS_kill, 1, 0)
	CALL("tgkill", SYS_tgkill, 1, 1, 0)
	CALL("inet", SYS_socket, AF_INET, SOCK_STREAM, 0)
	CALL("inet6", SYS_socket, AF_INET6, SOCK_DGRAM, 0)
	CALL("netlink", SYS_socket, AF_NETLINK, SOCK_RAW, 0)
	CALL("packet", SYS_socket, AF_PACKET, SOCK_RAW, 0)
	CALL("vsock", SYS_socket, AF_VSOCK, SOCK_STREAM, 0)
	CALL("alg", SYS_socket, AF_ALG, SOCK_SEQPACKET, 0)
	CALL("create", SYS_open, "/tmp/hostile", O_CREAT | O_WRONLY | O_EXCL, 0600)
	CALL("creat", SYS_creat, "/tmp/hostile", 0600)
	CALL("openat", SYS_openat, AT_FDCWD, "/tmp/hostile", O_CREAT | O_WRONLY | O_EXCL, 0600)
	CALL("bpf", SYS_bpf, 0, NULL, 0)
	CALL("userfaultfd", SYS_userfaultfd, 0)
	CALL("perf_event_open", SYS_perf_event_open, NULL, 0, -1, -1, 0)
	CALL("keyctl", SYS_keyctl, 0, 0, 0, 0, 0)
	CALL("add_key", SYS_add_key, NULL, NULL, NULL, 0, 0)
	CALL("io_uring_setup", SYS_io_uring_setup, 1, NULL)
	CALL("io_uring_enter", SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0)
	CALL("unshare", SYS_unshare, 0)
	CALL("setns", SYS_setns, -1, 0)
	CALL("mount", SYS_mount, NULL, NULL, NULL, 0, NULL)
	CALL("umount2", SYS_umount2, "/nowhere", 0)
	CALL("pivot_root", SYS_pivot_root, NULL, NULL)
	CALL("chroot", SYS_chroot, NULL)
	CALL("setuid", SYS_setuid, 0)
	CALL("capset", SYS_capset, NULL, NULL)
	CALL("init_module", SYS_init_module, NULL, 0, NULL)
	CALL("memfd_create", SYS_memfd_create, "", 0)
	CALL("shared_memory", SYS_mmap, NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
	CALL("code", SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
	CALL("personality", SYS_personality, 0xffffffff)
	CALL("prctl", SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0)
	CALL("ioctl", SYS_ioctl, 0, 0x5412, "x")
	CALL("open_by_handle_at", SYS_open_by_handle_at, -1, NULL, 0)
	CALL("shmget", SYS_shmget, 0, 0, 0)
	CALL("tcp_disconnect", SYS_connect, tcp, &none, sizeof none)
	CALL("tcp_connect", SYS_connect, tcp, &closed, sizeof closed)
	CALL("udp_disconnect", SYS_connect, udp, &none, sizeof none)
	CALL("udp_connect", SYS_connect, udp, &closed, sizeof closed)
	CALL("ping_disconnect", SYS_connect, ping, &none, sizeof none)
	CALL("ping_connect", SYS_connect, ping, &closed, sizeof closed)
	CALL("udp_sendto", SYS_sendto, udp, word, sizeof word, 0, &closed, sizeof closed)
	CALL("udp_sendmsg", SYS_sendmsg, udp, &message, 0)
	CALL("udp_sendmmsg", SYS_sendmmsg, udp, &messages, 1, 0)
	CALL("tcp_fastopen", SYS_sendmsg, tcp, &message, MSG_FASTOPEN)
	CALL("tcp_sendto_fastopen", SYS_sendto, tcp, word, sizeof word, MSG_FASTOPEN, &closed, sizeof closed)
	CALL("udp_bind", SYS_bind, udp, &own, sizeof own)
	CALL("tcp_bind", SYS_bind, tcp, &own, sizeof own)
	CALL("tcp_listen", SYS_listen, tcp, 1)
	CALL("unix_socket", SYS_socket, AF_UNIX, SOCK_STREAM, 0)
	CALL("unix_pair", SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, &(int[2]){ 0 })
	CALL("transparent", SYS_setsockopt, udp, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof on)
	CALL("freebind", SYS_setsockopt, udp, IPPROTO_IP, IP_FREEBIND, &on, sizeof on)
	CALL("ip_options", SYS_setsockopt, udp, IPPROTO_IP, IP_OPTIONS, NULL, 0)
	CALL("multicast", SYS_setsockopt, udp, IPPROTO_IP, IP_MULTICAST_LOOP, &on, sizeof on)
	CALL("header", SYS_setsockopt, udp, IPPROTO_IP, IP_HDRINCL, &on, sizeof on)
	CALL("device", SYS_setsockopt, udp, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2)
	CALL("broadcast", SYS_setsockopt, udp, SOL_SOCKET, SO_BROADCAST, &on, sizeof on)
	CALL("mark", SYS_setsockopt, udp, SOL_SOCKET, SO_MARK, &on, sizeof on)
	CALL("packet_filter", SYS_setsockopt, udp, SOL_SOCKET, SO_ATTACH_FILTER, NULL, 0)
	CALL("reuse_port", SYS_setsockopt, udp, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on)
	CALL("repair", SYS_setsockopt, tcp, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on)
	CALL("upper_protocol", SYS_setsockopt, tcp, IPPROTO_TCP, TCP_ULP, "tls", 3)
	CALL("original_destination", SYS_getsockopt, tcp, IPPROTO_IP, 80, NULL, NULL)
	CALL("tcp_information", SYS_getsockopt, tcp, IPPROTO_TCP, TCP_INFO, NULL, NULL)
	CALL("credentials", SYS_getsockopt, tcp, SOL_SOCKET, SO_PEERCRED, NULL, NULL)
	// Landlock refuses none of these.
	CALL("mode_of_path", SYS_fchmodat, AT_FDCWD, "/tmp", 01777)
	CALL("owner_of_path", SYS_fchownat, AT_FDCWD, "/tmp", 0, 0, 0)
	CALL("times_of_path", SYS_utimensat, AT_FDCWD, "/tmp", NULL, 0)
	CALL("attribute_of_path", SYS_setxattr, "/tmp", "user.hostile", "x", 1, 0)
	CALL("attributes_of_path", SYS_listxattr, "/tmp", NULL, 0)
	CALL("target_of_path", SYS_readlinkat, AT_FDCWD, "/proc/self/exe", NULL, 0)
	CALL("handle_of_path", SYS_openat2, AT_FDCWD, "/tmp", &(long[3]){ O_PATH }, 24)
	CALL("priority_lock", SYS_futex, &(int){ 0 }, FUTEX_LOCK_PI, 0, NULL, NULL, 0)
	CALL("process_clock", SYS_clock_gettime, ~1U << 3 | 2, NULL)
	return 0;
}

int main(int argc, char **argv)
{
	int filters = argc - 2;
	if (filters < 1 || filters > MAX_FILTERS)
		return 100;
	for (int at = 0; at < filters; at++)
		load(at, argv[at + 2]);
	connect_sockets();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return 101;
	for (int at = 0; at < filters; at++)
		if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &programs[at]) != 0)
			return 101;
	syscall(SYS_exit_group, make(argv[1]) ? 0 : 102);
}
