// Kernel definitions that musl does not have, so that the build needs no kernel headers.
#ifndef TSVM_JAIL_LINUX_H
#define TSVM_JAIL_LINUX_H

#include <stdint.h>

// linux/mount.h
#define OPEN_TREE_CLONE 1
#define OPEN_TREE_CLOEXEC 02000000
#define MOVE_MOUNT_F_EMPTY_PATH 4
#define MOUNT_ATTR_RDONLY 0x1
#define MOUNT_ATTR_NOSUID 0x2
#define MOUNT_ATTR_NODEV 0x4
#define MOUNT_ATTR_NOEXEC 0x8

struct mount_attr {
	uint64_t attr_set;
	uint64_t attr_clr;
	uint64_t propagation;
	uint64_t userns_fd;
};

// linux/fcntl.h
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

// linux/openat2.h
#define RESOLVE_NO_MAGICLINKS 0x02
#define RESOLVE_NO_SYMLINKS 0x04

struct open_how {
	uint64_t flags;
	uint64_t mode;
	uint64_t resolve;
};

// linux/capability.h
#define LINUX_CAPABILITY_VERSION_3 0x20080522
#define CAP_SYS_ADMIN 21

struct cap_header {
	uint32_t version;
	int pid;
};

struct cap_data {
	uint32_t effective;
	uint32_t permitted;
	uint32_t inheritable;
};

// linux/landlock.h
#define LANDLOCK_CREATE_RULESET_VERSION 1
#define LANDLOCK_RULE_PATH_BENEATH 1
#define LANDLOCK_ACCESS_FS_EXECUTE (1u << 0)
#define LANDLOCK_ACCESS_FS_WRITE_FILE (1u << 1)
#define LANDLOCK_ACCESS_FS_READ_FILE (1u << 2)
#define LANDLOCK_ACCESS_FS_READ_DIR (1u << 3)
#define LANDLOCK_ACCESS_FS_MAKE_SYM (1u << 12)
#define LANDLOCK_ACCESS_FS_REFER (1u << 13)
#define LANDLOCK_ACCESS_FS_TRUNCATE (1u << 14)
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1u << 15)
#define LANDLOCK_ACCESS_NET_BIND_TCP (1u << 0)
#define LANDLOCK_ACCESS_NET_CONNECT_TCP (1u << 1)
#define LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET (1u << 0)
#define LANDLOCK_SCOPE_SIGNAL (1u << 1)

struct landlock_ruleset_attr {
	uint64_t handled_access_fs;
	uint64_t handled_access_net;
	uint64_t scoped;
};

struct __attribute__((packed)) landlock_path_beneath_attr {
	uint64_t allowed_access;
	int32_t parent_fd;
};

// linux/securebits.h: root has no capabilities by its user id alone, and this stays so.
#define SECBITS_NO_ROOT 3

// linux/filter.h and linux/seccomp.h.
#define SECCOMP_MODE_FILTER 2

struct sock_filter {
	uint16_t code;
	uint8_t jt;
	uint8_t jf;
	uint32_t k;
};

struct sock_fprog {
	unsigned short len;
	struct sock_filter *filter;
};

#endif
