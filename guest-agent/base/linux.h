// Kernel definitions that musl does not have, so that the build needs no kernel headers.
#ifndef TSVM_LINUX_H
#define TSVM_LINUX_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

// linux/vm_sockets.h
#ifndef AF_VSOCK
#define AF_VSOCK 40
#endif
#define VMADDR_CID_HOST 2

struct sockaddr_vm {
	sa_family_t svm_family;
	unsigned short svm_reserved1;
	unsigned int svm_port;
	unsigned int svm_cid;
	unsigned char svm_zero[4];
};
_Static_assert(sizeof(struct sockaddr_vm) == sizeof(struct sockaddr), "sockaddr_vm has the size of sockaddr");

// linux/ipv6.h
struct in6_ifreq {
	struct in6_addr ifr6_addr;
	uint32_t ifr6_prefixlen;
	int ifr6_ifindex;
};

// linux/openat2.h
struct open_how {
	uint64_t flags;
	uint64_t mode;
	uint64_t resolve;
};
#define RESOLVE_NO_MAGICLINKS 0x02
#define RESOLVE_IN_ROOT 0x10

// linux/sched.h
#define CLONE_PIDFD 0x00001000
#define CLONE_INTO_CGROUP UINT64_C(0x200000000)

struct clone_args {
	uint64_t flags;
	uint64_t pidfd; // where to store it
	uint64_t child_tid;
	uint64_t parent_tid;
	uint64_t exit_signal;
	uint64_t stack;
	uint64_t stack_size;
	uint64_t tls;
	uint64_t set_tid;
	uint64_t set_tid_size;
	uint64_t cgroup; // its directory's descriptor
};

// linux/capability.h
#define LINUX_CAPABILITY_VERSION_3 0x20080522

struct capability_header {
	uint32_t version;
	int pid;
};

struct capability_data {
	uint32_t effective;
	uint32_t permitted;
	uint32_t inheritable;
};

#define CAP_SYS_ADMIN 21

// linux/filter.h and linux/seccomp.h
struct filter_program {
	unsigned short length; // instructions
	const void *instructions;
};
#define SECCOMP_SET_MODE_FILTER 1

#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif

// asm-generic/ioctls.h: _IO('T', 0x41)
#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

#endif
