// What is asked of a jail, and what was reached.
#ifndef TSVM_JAIL_H
#define TSVM_JAIL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MAX_WORDS 64
#define MAX_DESCRIPTORS 1024

// Exit codes: as of env(1) and other launchers.
#define EXIT_LAUNCHER 125
#define EXIT_NOT_EXECUTED 126

// The program and its surroundings, as the command line describes them.
struct jail_spec {
	// Files and folders that the program may read and execute. Those that do not exist are left out.
	const char *readable[MAX_WORDS];
	int readable_count;
	// Names in /dev.
	const char *devices[MAX_WORDS];
	int device_count;
	// Open files and folders beneath which the program may do anything, or read.
	int folders[MAX_DESCRIPTORS];
	bool folder_is_read_only[MAX_DESCRIPTORS];
	int folder_count;
	// Descriptors that stay open, beside 0 to 2.
	int kept[MAX_DESCRIPTORS];
	int kept_count;
	// The whole environment of the program: `NAME=VALUE`.
	char *environment[MAX_WORDS + 1];
	int environment_count;
	// Bits of capabilities that root keeps.
	uint64_t capabilities;
	// User IDs of which root takes one for the program.
	uint32_t first_user;
	uint32_t user_count;
	// The one that was taken; 0: the program keeps the user of the launcher.
	uint32_t user;
	// Descriptors that hold it: of the launcher, and of the program.
	int user_lock;
	int program_lock;
	// Descriptor for the report; -1: no report.
	int report;
	// File with a filter of system calls for the program, which lets execve pass; -1: no filter.
	int filter;
	// Descriptor at which the launcher waits for a byte before it executes the program; -1: it does not wait.
	int start;
	// Bytes of a file system for files of the program's own, at /dev/shm; 0: there is none.
	uint64_t scratch;
	// The most bytes of its stack; 0: as many as the caller's.
	uint64_t stack;
	// The most bytes of its address space; 0: as many as the caller's.
	uint64_t memory;
	// The most seconds of CPU time; 0: as many as the caller's.
	uint64_t cpu_seconds;
	// The most open files at a time; 0: as many as any program's in a jail.
	uint64_t files;
	// The program writes to no file.
	bool writes_none;
	// The most processes and threads, where they can be counted apart from the caller's; 0: as many as the caller's.
	uint64_t processes;
	// Bits of personality(2).
	unsigned long personality;
	char **command;
};

// Why a part was not reached: one line of printable ASCII without quotes; empty if it was reached.
struct reason {
	char text[160];
};

// What keeps the program from the host. A part that is not reached has a reason.
struct jail_report {
	bool has_user_namespace;
	// Namespaces, all or none: mount, process, IPC, host name, cgroup.
	bool has_namespaces;
	bool has_network_namespace;
	struct reason no_namespaces;
	struct reason no_network_namespace;
	// Version of landlock's interface; 0: the kernel has none.
	int landlock;
	bool landlock_files;
	bool landlock_network;
	// Signals to processes outside, and abstract sockets of theirs.
	bool landlock_scope;
	struct reason no_landlock;
	// Why the program has no user of its own, if root asked for one.
	struct reason no_user;
	// Process ID of the program, as the process that started the launcher knows it.
	pid_t pid;
};

// Writes `what: error` of errno.
void reason_set(struct reason *reason, const char *what);

// Writes the report to its descriptor, if the spec has one.
void write_report(const struct jail_spec *spec, const struct jail_report *report);

// Ends the launcher with this message.
_Noreturn void refuse(const char *what);

// Makes the namespaces and goes on in them, in a child that is process 1. The parent waits for the child and ends as
// it ends. If the host refuses, returns without them, with the reasons in the report: in the first process, or, with a
// user of its own, in a child for which the parent waits.
void enter_jail(struct jail_spec *spec, struct jail_report *report);

// Takes a user of the range for the program, until both launcher and program have ended. The reason is in the report if
// there is none.
void take_user(struct jail_spec *spec, struct jail_report *report);

// Gives it back.
void leave_user(struct jail_spec *spec);

// Becomes the user, with all capabilities until they are dropped. Clears the parent-death signal.
bool become_user(const struct jail_spec *spec, struct reason *why);

// Gives up what landlock can take: files unless there is a mount namespace, TCP, signals, abstract sockets.
void restrict_by_landlock(const struct jail_spec *spec, struct jail_report *report);

// Gives up all capabilities but those that the spec keeps, for this process and all that it executes.
bool drop_capabilities(uint64_t kept);

// Sends the line over the socket with a detached mount of each of the descriptors. Returns the exit code.
int pass_trees(int socket, const char *line, char **words);

// Reads the filter that the program starts with. Installing it is the last step before the program.
void read_filter(int fd);
void install_filter(int fd);

// True if this process may make namespaces without a user namespace.
bool has_capability(int capability);

#endif
