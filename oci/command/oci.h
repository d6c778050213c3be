// The command `tsvm-oci`: an OCI runtime for engines (podman, containerd, Docker). It parses no JSON: the
// keeper, one Node.js process for each machine, reads config.json and answers with a plan. What a
// container has on the host lies in its state folder, ROOT/ID, which is the working directory of all
// functions that take no path:
//
//     head.json    the part of the state that never changes, by the keeper
//     status       `created`, `running` or `paused`, by the keeper
//     stub         process id and start time of the process that engines see as the container's
//     keeper.pid   process id and start time of the keeper
//     keeper       symbolic link to the keeper's socket
//     keeper.log   what the keeper says
//     network      device and inode of the network namespace whose machine this container has brought, and the
//                  mount and pid namespaces, by the keeper; absent: the machine is not there, or another container's
//     pod          symbolic link to the socket of the keeper that has the machine, if that is another container's
//     scope        name of the scope of systemd that the container is in, by the keeper; absent: none
//     cgroups      paths of the container's cgroup, one for each hierarchy, by the keeper; absent: none
//     poststop     the hooks that run once the container is deleted, by the keeper; absent: none
#ifndef TSVM_OCI_H
#define TSVM_OCI_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

enum {
	MAX_LINE = 16384,
	MAX_CGROUPS = 32, // hierarchies
};

struct options {
	const char *root; // folder of the state folders
	const char *log;  // NULL: standard error only
	bool json;        // form of the log
	bool systemd;     // cgroups are scopes of systemd
};

struct create {
	const char *bundle;
	const char *pid_file;
	const char *console_socket;
};

struct words {
	const char **items;
	size_t count;
};

struct exec {
	const char *root; // folder of the state folders
	const char *id;
	const char *process; // file that describes the process; NULL: the words below do
	const char *pid_file;
	const char *console_socket;
	const char *cwd;
	const char *user;
	struct words args;
	struct words env;
	struct words groups;
	struct words capabilities;
	bool terminal;
	bool no_new_privileges;
	bool detach;
};

// What the keeper wants a stub to be. That of an `exec` has its streams and its terminal alone.
struct plan {
	char *cgroups[MAX_CGROUPS]; // paths of those to be in
	size_t cgroup_count;
	char *root;
	char *hostname;
	char *network; // path of the network namespace to join; NULL: a new one
	char *streams; // path of the socket for the container's streams
	char *control; // path of the keeper's socket
	bool terminal;
	bool scope; // systemd is to start a scope with the stub
	bool hooks; // there are some to run before the root is entered
	bool join;  // another keeper has the machine: it tells the plan
};

// report.c. Exits with 1, after the error has been told to the engine.
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Tells the engine of what does not end the call.
void warn(const char *text);
void report_to(const struct options *options);
// Makes this the exit code of errors.
void report_code(int code);
// Writes the inside of a string of JSON.
void print_escaped(FILE *out, const char *text);

// state.c
void state_make(const char *root, const char *id);
// Enters the state folder. Returns false if there is none.
bool state_enter(const char *root, const char *id);
// Returns the process that a file names, or 0 if it has ended.
pid_t state_process(const char *file);
void state_write_process(const char *file, pid_t pid);
// Returns a descriptor of the process that a file names, or -1 if it has ended.
int state_open(const char *file);
// Kills a process, and waits until it is gone.
void state_kill(const char *file);
// Waits until no other process has claimed the state folder. Returns false if it is gone. The claim ends with
// this process.
bool state_claim(const char *root, const char *id);
// Removes the container's cgroup, and waits until its processes are gone. systemd ends its scope.
void state_remove_cgroups(void);
void state_remove(const char *root, const char *id);
enum list { LIST_TABLE, LIST_JSON, LIST_NAMES };
// Prints the containers of a root to standard output.
void state_list(const char *root, enum list form);
// Prints the state to standard output.
void state_print(const char *id);
// Makes a path absolute; NULL gives an empty one.
void absolute_path(char path[PATH_MAX], const char *given);
bool write_pid_file(const char *path, pid_t pid);

// keeper.c. How a container is to be made.
struct made {
	const char *state;
	const char *id;
	const char *bundle;
	bool console;
	bool systemd;
};
int keeper_start(const struct made *made);
// Asks the keeper whose socket is at `pod`, in the state folder, to keep this container too. Returns the socket
// over which it answers; -1: it is gone.
int keeper_join(const struct made *made);
// Sends a request to the keeper, and dies with its error.
void keeper_ask(const char *request);
// Ends a container with its keeper, runs its last hooks, and removes its state folder. Of the calls that do
// this at the same time one does it, and the others wait for that one.
void keeper_remove(const char *root, const char *id);
// Reads the keeper's next line, after its warnings, which it tells the engine. Returns false for the end and
// for an error, whose text is then the line.
bool keeper_line(int keeper, char line[MAX_LINE]);
// Reads a plan. Returns false with the reason.
bool keeper_plan(int keeper, struct plan *plan, char reason[MAX_LINE]);
// Reads one line, without its end. Returns false at the end of the stream.
bool read_line(int file, char line[MAX_LINE]);
void send_line(int file, const char *format, ...) __attribute__((format(printf, 2, 3)));
int connect_to(const char *path);

// request.c. A request to the keeper: a word, and the members of an object of JSON, which the caller writes.
struct request {
	FILE *out;
	struct {
		char *text;
		size_t length;
	} * content;
};
struct request request_open(const char *word);
void request_string(FILE *out, const char *text);
// Writes the contents of a file, JSON; `-` is standard input.
void request_file(FILE *out, const char *path);
// Sends the request to the socket at a path of the state folder, and returns the one over which the keeper
// answers; -1: it is gone.
int request_send(struct request *request, const char *path);

// create.c
void create(const struct options *options, const struct create *create, const char *id);

// exec.c. Returns the exit code.
int exec_in(const struct exec *call);

// stub.c. Becomes the process that engines see. Tells `ready` one line: empty if it has succeeded. If the plan
// has a scope, it tells another one before all else, and waits for a line; so it does once its namespaces are
// there, if the plan has hooks.
_Noreturn void stub(const struct plan *plan, const char *console_socket, int ready);

// Becomes the process that engines see as another of the container, which `container` describes. Tells
// `ready` the same, and relays once it has read a line from there.
_Noreturn void exec_stub(const struct plan *plan, const char *console_socket, int container, int keeper, int ready);

// hook.c. Executes a program in the namespaces of a stub that has not entered its root.
//
//     words   process id of the stub, working directory, path of the program, its argv
int run_hook(int count, char **words);

// pump.c
// Signals wait for the pump.
void block_signals(void);
// Tells the size of the terminal that is standard input.
void send_size(int control);
// Relays the streams and signals of the container to its end, and exits with its code. `score` is the
// process's own oom_score_adj; negative: it does not die of a lack of memory in the guest.
_Noreturn void pump(int control, int streams, bool terminal, int score);

#endif
