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
#define SO_VM_SOCKETS_CONNECT_TIMEOUT 6

struct sockaddr_vm {
	sa_family_t svm_family;
	unsigned short svm_reserved1;
	unsigned int svm_port;
	unsigned int svm_cid;
	unsigned char svm_zero[4];
};
_Static_assert(sizeof(struct sockaddr_vm) == sizeof(struct sockaddr), "sockaddr_vm has the size of sockaddr");

// linux/netlink.h
#define NETLINK_ROUTE 0
#define NLM_F_REQUEST 0x1
#define NLM_F_ACK 0x4
#define NLM_F_EXCL 0x200
#define NLM_F_CREATE 0x400
#define NLM_F_APPEND 0x800

struct nlmsghdr {
	uint32_t nlmsg_len;
	uint16_t nlmsg_type;
	uint16_t nlmsg_flags;
	uint32_t nlmsg_seq;
	uint32_t nlmsg_pid;
};

// linux/rtnetlink.h, linux/if_addr.h
#define RTM_NEWADDR 20
#define RTM_NEWROUTE 24
#define RTA_OIF 4
#define IFA_ADDRESS 1
#define IFA_LOCAL 2
#define IFA_BROADCAST 4
#define IFA_FLAGS 8
#define IFA_F_NOPREFIXROUTE 0x200
#define RTMSG_LENGTH 12 // of struct rtmsg

struct rtattr {
	uint16_t rta_len;
	uint16_t rta_type;
};

struct ifaddrmsg {
	uint8_t ifa_family;
	uint8_t ifa_prefixlen;
	uint8_t ifa_flags;
	uint8_t ifa_scope;
	uint32_t ifa_index;
};

// linux/magic.h
#define BPF_FS_MAGIC 0xcafe4a11
#define CGROUP2_SUPER_MAGIC 0x63677270
#define DEBUGFS_MAGIC 0x64626720
#define DEVPTS_SUPER_MAGIC 0x1cd1
#define FUSE_SUPER_MAGIC 0x65735546
#define PROC_SUPER_MAGIC 0x9fa0
#define SECURITYFS_MAGIC 0x73636673
#define SYSFS_MAGIC 0x62656572
#define TRACEFS_MAGIC 0x74726163

// linux/openat2.h
struct open_how {
	uint64_t flags;
	uint64_t mode;
	uint64_t resolve;
};
#define RESOLVE_NO_MAGICLINKS 0x02
#define RESOLVE_IN_ROOT 0x10

// linux/mount.h
#define OPEN_TREE_CLONE 1
#define MOVE_MOUNT_F_EMPTY_PATH 4

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

// linux/bpf.h and linux/bpf_common.h
struct bpf_instruction {
	uint8_t code;
	uint8_t destination : 4;
	uint8_t source : 4;
	int16_t offset;
	int32_t value;
};
struct bpf_load {
	uint32_t type;
	uint32_t length; // instructions
	uint64_t code;
	uint64_t license;
	uint32_t log_level;
	uint32_t log_size;
	uint64_t log;
	uint32_t kernel_version;
	uint32_t flags;
};
struct bpf_attach {
	uint32_t target;
	uint32_t program;
	uint32_t type;
	uint32_t flags;
};
#define BPF_PROG_LOAD 5
#define BPF_PROG_ATTACH 8
#define BPF_PROG_TYPE_CGROUP_DEVICE 15
#define BPF_CGROUP_DEVICE 6
#define BPF_F_ALLOW_MULTI 2
#define BPF_DEVCG_ACC_MKNOD 1
#define BPF_DEVCG_ACC_READ 2
#define BPF_DEVCG_ACC_WRITE 4
#define BPF_DEVCG_DEV_BLOCK 1
#define BPF_DEVCG_DEV_CHAR 2
#define BPF_LOAD_WORD 0x61
#define BPF_MOVE 0xbf
#define BPF_MOVE_VALUE 0xb7
#define BPF_AND_VALUE 0x57
#define BPF_SHIFT_RIGHT 0x77
#define BPF_JUMP_NOT_EQUAL 0x55
#define BPF_RETURN 0x95

// linux/random.h: _IOW('R', 0x03, int[2]) and _IO('R', 0x07)
#define RNDADDENTROPY 0x40085203
#define RNDRESEEDCRNG 0x5207

// linux/loop.h
#define LOOP_CTL_ADD 0x4C80

#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif

// asm-generic/ioctls.h: _IO('T', 0x41)
#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

#endif
