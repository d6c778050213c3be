// The protocol of PROTOCOL.md: its numbers, and its requests as the agent decodes them.
// Generated from table.mjs by `npm run generate`: do not edit.
#ifndef TSVM_PROTOCOL_H
#define TSVM_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGENT_VERSION "0.1.0"
// All ones on the wire; equal to the kernel's RLIM_INFINITY.
#define UNLIMITED UINT64_MAX

enum {
	PROTOCOL_VERSION = 2,       // Protocol version that hello carries.
	AGENT_PORT = 1024,          // The host's vsock port for the control connection and, by default, for streams.
	FRAME_HEADER_LENGTH = 8,    // Bytes of a frame header: u32 payload length, u16 type, u16 request.
	FIELD_HEADER_LENGTH = 6,    // Bytes of a field header: u16 tag, u32 length of the value.
	MAX_HOST_PAYLOAD = 4194304, // Largest payload that the agent accepts, in bytes.
	MAX_AGENT_PAYLOAD = 65536,  // Largest payload that the host accepts from the agent, in bytes.
	FIRST_OPTIONAL_TAG = 32768, // First tag that a reader may ignore if it does not know it.
	INSTRUCTION_SIZE = 8,       // Bytes of a BPF instruction: struct sock_filter (linux/filter.h).
	MAX_INSTRUCTIONS = 4096,    // Most instructions of a seccomp filter (BPF_MAXINSNS).
};

enum frame_type {
	FRAME_MACHINE = 0x01,
	FRAME_CONTAINER = 0x02,
	FRAME_PROCESS = 0x03,
	FRAME_SIGNAL = 0x04,
	FRAME_RESIZE = 0x05,
	FRAME_REMOVE = 0x06,
	FRAME_SHUTDOWN = 0x07,
	FRAME_PING = 0x08,
	FRAME_FREEZE = 0x09,
	FRAME_THAW = 0x0a,
	FRAME_HELLO = 0x81,
	FRAME_STARTED = 0x82,
	FRAME_EXITED = 0x83,
	FRAME_ERROR = 0x84,
	FRAME_STREAM = 0x85,
	FRAME_PONG = 0x86,
	FRAME_DONE = 0x87,
	FRAME_RUNNING = 0x88,
};

enum error_kind {
	ERROR_BAD_REQUEST = 1,
	ERROR_UNSUPPORTED = 2,
	ERROR_TOO_LARGE = 3,
	ERROR_NO_SUCH_PROCESS = 4,
	ERROR_NOT_FOUND = 5,
	ERROR_CANNOT_INVOKE = 6,
	ERROR_NO_SUCH_USER = 7,
	ERROR_SETUP_FAILED = 8,
	ERROR_NO_SUCH_CONTAINER = 9,
};

enum stream_kind {
	STREAM_STDIN = 0,
	STREAM_STDOUT = 1,
	STREAM_STDERR = 2,
	STREAM_TERMINAL = 3,
};

// Tags of the frames that the agent sends.
enum {
	TAG_HELLO_PROTOCOL = 1,
	TAG_HELLO_AGENT = 2,
	TAG_HELLO_KERNEL = 3,
	TAG_HELLO_RUNNING = 4,
	TAG_HELLO_FROZEN = 5,
	TAG_HELLO_PROCESSES = 6,
	TAG_STARTED_PROCESS = 1,
	TAG_STARTED_PID = 2,
	TAG_EXITED_PROCESS = 1,
	TAG_EXITED_CODE = 2,
	TAG_EXITED_SIGNAL = 3,
	TAG_EXITED_CONTAINER = 4,
	TAG_EXITED_OOM_KILLED = 5,
	TAG_ERROR_KIND = 1,
	TAG_ERROR_ERRNO = 2,
	TAG_ERROR_MESSAGE = 3,
	TAG_STREAM_PROCESS = 1,
	TAG_STREAM_STREAM = 2,
	TAG_RUNNING_PROCESS = 1,
	TAG_RUNNING_CONTAINER = 2,
	TAG_RUNNING_PID = 3,
};

// `items` ends in NULL, or is NULL if there are none.
struct text_list {
	char **items;
	size_t count;
	size_t capacity;
};

// `struct sock_filter` as the kernel has it, not aligned. `count` is 0 if the field is absent.
struct program {
	const uint8_t *instructions;
	size_t count;
};

// The size of a terminal in characters.
struct terminal_spec {
	uint16_t columns; // characters in a line
	uint16_t rows;    // lines
};

// A resource limit of a process.
struct rlimit_spec {
	uint16_t resource; // the RLIMIT_ number
	uint64_t soft;     // in the resource's unit
	uint64_t hard;     // in the resource's unit
};

struct rlimit_list {
	struct rlimit_spec *items;
	size_t count;
	size_t capacity;
};

// The container's root file system.
struct root_spec {
	const char *device;  // EROFS block device of the image: /dev/vda; absent: share is the root
	const char *scratch; // ext4 block device of the writable layer: /dev/vdb; absent: a tmpfs
	uint64_t tmpfs_size; // bytes of that tmpfs; 0 or absent: half of the memory
	bool readonly;       // the container cannot write to its root
	uint32_t share;      // a folder of the virtio-fs device tsvm, in place of all disks
};

// A tmpfs in the container. nosuid, nodev and noexec unless a flag says otherwise, as Docker's.
struct tmpfs_spec {
	const char *path; // mount point; made if missing
	uint64_t size;    // bytes; 0 or absent: half of the memory
	uint16_t mode;    // permission bits; absent: those of the directory there, or 01777
	uint32_t uid;     // owner; absent: root
	uint32_t gid;     // group; absent: root
	bool readonly;    // mount it read-only
	bool exec;        // allow the execution of programs
	bool suid;        // honour set-user-ID bits
	bool dev;         // honour device files
	bool copy_up;     // it begins with what the directory there contains
};

struct tmpfs_list {
	struct tmpfs_spec *items;
	size_t count;
	size_t capacity;
};

// A folder or file of the host in the container, from the virtio-fs device tsvm. nodev.
struct share_spec {
	uint32_t index;   // its name on the virtio-fs device
	const char *path; // mount point; made if missing, as a folder or a file
	bool readonly;    // mount it read-only
	bool noexec;      // allow no execution of programs
	bool nosuid;      // honour no set-user-ID bits
};

struct share_list {
	struct share_spec *items;
	size_t count;
	size_t capacity;
};

// A device of the machine in the container. A /dev/loopN is made if it is missing.
struct device_spec {
	const char *path;   // in the machine's /dev: /dev/fuse
	const char *target; // in the container; folders are made if missing
	uint64_t access;    // what the container may do with it, one bit each
};

struct device_list {
	struct device_spec *items;
	size_t count;
	size_t capacity;
};

// A network interface of the machine's besides the loopback interface.
struct network_spec {
	const char *interface;      // eth0
	struct text_list addresses; // with a prefix length: 198.19.0.2/32, fd74:7376:6d::2/128
	struct text_list gateways;  // of default routes, for IPv4 and IPv6; on the link, whatever their network
	const char *mac;            // hardware address to set: 52:54:00:12:34:56; absent: the device's own
	struct text_list routes;    // rtnetlink(7) in hex, RTA_OIF being set here; with any, addresses bring none
};

struct network_list {
	struct network_spec *items;
	size_t count;
	size_t capacity;
};

// Limits of the container's cgroup (cgroup v2). Absent or 0: no limit.
struct limits_spec {
	uint64_t memory;     // memory.max, bytes
	uint64_t pids;       // pids.max, processes and threads
	uint64_t cpu_quota;  // cpu.max, microseconds of CPU time in each period
	uint64_t cpu_period; // microseconds; 0 or absent: 100000
};

// The capabilities of a process beside its bounding set, one bit each. Absent: none.
struct capabilitySets_spec {
	uint64_t permitted;   // the permitted set
	uint64_t effective;   // the effective set
	uint64_t inheritable; // the inheritable set
	uint64_t ambient;     // the ambient set
};

// A kernel parameter, set in the container's namespaces before its first process starts.
struct sysctl_spec {
	const char *path;  // below /proc/sys: net/ipv4/ip_forward
	const char *value; // what is written to the file
};

struct sysctl_list {
	struct sysctl_spec *items;
	size_t count;
	size_t capacity;
};

// A file in the memory of the machine.
struct secret_spec {
	const char *name;     // without /, not . or ..
	const char *contents; // what it has
};

struct secret_list {
	struct secret_spec *items;
	size_t count;
	size_t capacity;
};

// A program of the container that runs before its own does.
struct hook_spec {
	const char *path;      // in the container
	struct text_list argv; // absent: the path alone
	struct text_list env;  // all of its environment
	uint32_t timeout;      // seconds until it is killed; 0 or absent: no limit
};

struct hook_list {
	struct hook_spec *items;
	size_t count;
	size_t capacity;
};

// What a container of a cloned machine has instead of what its original has.
struct identity_spec {
	uint32_t container;      // id of the container
	const char *hostname;    // host name of the container
	const char *machine_id;  // of machine-id(5), 32 lower-case hex digits; for a container that has one
	const char *hosts;       // contents of /etc/hosts; absent: left alone
	const char *resolv_conf; // contents of /etc/resolv.conf; absent: left alone
};

struct identity_list {
	struct identity_spec *items;
	size_t count;
	size_t capacity;
};

// Sets the machine up.
struct machine_request {
	uint64_t clock; // wall clock to set, microseconds since the epoch; 0 or absent: left alone
	bool has_network;
	struct network_spec network;       // absent: only the loopback interface
	bool shares;                       // mount the virtio-fs device tsvm, which containers take their shares from
	struct network_list more_networks; // further interfaces
};

// Makes a container, without a process.
struct container_request {
	uint32_t id;              // the host's name for the container, until it is removed
	const char *hostname;     // host name of the container
	struct root_spec root;    // the root file system
	struct tmpfs_list tmpfs;  // tmpfs mounts
	struct share_list shares; // folders and files of the host
	const char *hosts;        // contents of /etc/hosts; absent: the image's own
	const char *resolv_conf;  // contents of /etc/resolv.conf; absent: the image's own
	uint64_t shm_size;        // bytes of /dev/shm; absent: 64 MiB
	bool has_limits;
	struct limits_spec limits;  // limits of the cgroup
	struct sysctl_list sysctls; // kernel parameters
	bool privileged;            // all devices of the machine; /proc, /sys and cgroups are writable
	bool init;                  // process 1 of the container is the agent's, which reaps; the program is its child
	struct device_list devices; // devices of the machine, beside those that every container has
	struct secret_list secrets; // files of a read-only tmpfs at /run/secrets; absent: there is none
	uint64_t joined;            // the machine's own that it is in, one bit each; absent: none
	uint32_t processes_of;      // container whose pid namespace it is in; absent: one of its own
};

// Starts a process in a container. The first one is process 1 of the container.
struct process_request {
	uint32_t container;      // id of the container
	uint32_t id;             // the host's name for the process; never used again
	struct text_list argv;   // argv[0] without a slash is searched for in the container's PATH
	struct text_list env;    // NAME=value; see "The container" for what is added
	const char *cwd;         // working directory; the first process of a container makes it if missing
	const char *user;        // user[:group], see "The container"; absent: root
	struct text_list groups; // more supplementary groups, names or numbers
	bool has_terminal;
	struct terminal_spec terminal; // one terminal stream instead of pipes
	bool open_stdin;               // open a stdin stream; otherwise stdin is /dev/null. No effect on a terminal
	uint64_t capabilities;         // the bounding set, one bit each; absent: Docker's 14
	bool no_new_privileges;        // set no_new_privs (prctl(2))
	struct rlimit_list rlimits;    // resource limits
	struct program seccomp;        // filter of system calls (seccomp(2)), see "The container"
	uint32_t port;                 // the host's vsock port for the streams
	bool tool;                     // argv names a tool of the agent, which runs as root; see "Tools"
	bool exact;                    // user and groups are numbers, and all there are; see "The container"
	bool has_capability_sets;
	struct capabilitySets_spec capability_sets; // absent: root's are the bounding set, others have none
	uint16_t umask;                             // file mode creation mask; absent: 022
	struct hook_list hooks;                     // run in their order before the program
	const char *hook_state;                     // what they have on standard input
};

// Sends a signal to a process. Answered only by error.
struct signal_request {
	uint32_t process; // id of the process
	uint16_t signal;  // signal number
	bool group;       // signals all processes of its process group
};

// Sets the size of a terminal. Answered only by error.
struct resize_request {
	uint32_t process; // id of the process
	uint16_t columns; // characters in a line
	uint16_t rows;    // lines
};

// Removes a container that no process runs in.
struct remove_request {
	uint32_t container; // id of the container, which is free afterwards
};

// Stops all processes of all containers where they are, and writes the disks out.
struct freeze_request {
	uint16_t timeout; // milliseconds in which the machine runs, for all processes to stop; absent: 5000
};

// Makes a restored machine different from its snapshot, and only then lets its processes run.
struct thaw_request {
	const char *entropy;    // random bytes of the host as hex digits, at least 64 bytes
	uint64_t clock;         // wall clock to set, microseconds since the epoch; 0 or absent: left alone
	const char *generation; // UUID that no other machine has; containers see it in a file
	const char *boot_id;    // UUID that containers see as boot_id of the kernel; makes the machine a clone
	bool has_network;
	struct network_spec network;     // of a clone; absent: the network is left alone
	struct identity_list identities; // of a clone: one for each container
};

// A decoded request. It owns the payload, which its texts and programs point into, and its lists.
// An absent text is NULL or its preset.
struct request {
	enum frame_type type;
	uint8_t *payload;
	union {
		struct machine_request machine;
		struct container_request container;
		struct process_request process;
		struct signal_request signal;
		struct resize_request resize;
		struct remove_request remove;
		struct freeze_request freeze;
		struct thaw_request thaw;
	};
};

#endif
