// The host's requests, decoded. PROTOCOL.md, "Requests". Strings point into the payload they were decoded from.
#ifndef TSVM_REQUEST_H
#define TSVM_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// All ones on the wire; equal to the kernel's RLIM_INFINITY.
#define UNLIMITED UINT64_MAX

// `items` ends in NULL, or is NULL when there are none.
struct text_list {
	char **items;
	size_t count;
	size_t capacity;
};

struct rlimit_spec {
	uint32_t resource; // RLIMIT_...
	uint64_t soft;
	uint64_t hard;
};

struct process_spec {
	uint32_t id;
	struct text_list argv;
	struct text_list env;
	const char *cwd;
	const char *user;
	struct text_list groups;
	bool terminal;
	uint16_t columns;
	uint16_t rows;
	bool open_stdin;
	uint64_t capabilities; // one bit each
	bool no_new_privileges;
	struct rlimit_spec *rlimits;
	size_t rlimit_count;
	const uint8_t *seccomp; // instructions of 8 bytes each, as the kernel has them
	size_t seccomp_count;   // 0: no filter
	uint32_t port; // of the host, for the streams
	bool tool;     // argv names a tool of the agent's
};

struct root_spec {
	const char *device;
	const char *scratch;    // NULL: the writable layer is a tmpfs
	uint64_t tmpfs_size;    // 0: the kernel's default
	bool readonly;
};

struct tmpfs_spec {
	const char *path;
	uint64_t size; // 0: the kernel's default
	uint32_t mode;
	uint32_t uid;
	uint32_t gid;
	bool readonly;
	bool exec;
	bool suid;
	bool dev;
};

struct sysctl_spec {
	const char *path; // below /proc/sys
	const char *value;
};

// A folder or file of the host's.
struct share_spec {
	uint32_t index; // its name on the virtio-fs device
	const char *path;
	bool readonly;
};

// 0: no limit.
struct network_spec {
	const char *interface; // NULL: there is none but the loopback
	struct text_list addresses; // `198.19.0.2/32`
	struct text_list gateways;
};

struct limits_spec {
	uint64_t memory;
	uint64_t pids;
	uint64_t cpu_quota;
	uint64_t cpu_period;
};

struct start_request {
	const char *hostname;
	uint64_t clock; // microseconds since the epoch; 0: leave the clock
	struct root_spec root;
	struct tmpfs_spec *tmpfs;
	size_t tmpfs_count;
	struct share_spec *shares;
	size_t share_count;
	const char *hosts;       // NULL: the image's own
	const char *resolv_conf; // NULL: the image's own
	uint64_t shm_size;
	struct network_spec network;
	struct limits_spec limits;
	struct sysctl_spec *sysctls;
	size_t sysctl_count;
	bool privileged; // all devices, nothing of /proc and /sys protected
	bool init;       // process 1 is the agent's, which reaps; the program is its child
	struct process_spec process;
};

struct signal_request {
	uint32_t process;
	int number;
};

struct resize_request {
	uint32_t process;
	uint16_t columns;
	uint16_t rows;
};

struct request {
	enum frame_type type;
	union {
		struct start_request start;
		struct process_spec exec;
		struct signal_request signal;
		struct resize_request resize;
	};
};

// Decodes a payload, which is changed: strings are terminated in place. `request` is to be freed either way.
bool request_decode(struct request *request, uint16_t type, uint8_t *payload, size_t length, struct failure *failure);

void request_free(struct request *request);

#endif
