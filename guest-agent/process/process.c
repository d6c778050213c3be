// The table of processes. A process is forgotten when it is reaped and its launch is over; its streams live on until
// they are drained.
#include "process/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container/cgroup.h"
#include "control.h"
#include "container/disk.h"
#include "protocol/frame.h"
#include "process/launch.h"
#include "boot/network.h"
#include "linux.h"
#include "loop.h"
#include "power.h"
#include "container/rootfs.h"
#include "process/stream.h"
#include "process/terminal.h"
#include "tools/tool.h"

enum { MAX_PROCESSES = 256 };

struct process {
	struct process *next;
	uint32_t id;
	uint16_t request;
	pid_t pid; // 0 once reaped
	int status; // of the launch; -1 once it is over
	bool ready;
	bool failed;
	struct failure failure;
};

static struct process *processes;
static size_t process_count;
static bool container_made;
static pid_t container_pid; // the container's process 1; 0 before and after
static int container = -1;  // its pidfd
static int cgroup = -1;     // the container's
static int own_pid_namespace = -1;

static struct process *find(uint32_t id)
{
	for (struct process *process = processes; process != NULL; process = process->next) {
		if (process->id == id && process->pid != 0)
			return process;
	}
	return NULL;
}

static bool id_is_free(uint32_t id)
{
	for (struct process *process = processes; process != NULL; process = process->next) {
		if (process->id == id)
			return false;
	}
	return true;
}

static void close_all(int *descriptors, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (descriptors[i] >= 0)
			close(descriptors[i]);
		descriptors[i] = -1;
	}
}

// Opens the process's streams; `ends` are its own ends of the pipes.
static bool open_streams(const struct process_spec *spec, int ends[3], struct failure *failure)
{
	if (spec->has_terminal)
		return stream_open(spec, STREAM_TERMINAL, -1, failure);
	for (int number = spec->open_stdin ? 0 : 1; number < 3; number++) {
		int pair[2];
		int own = number == STREAM_STDIN ? 1 : 0;

		if (pipe2(pair, O_CLOEXEC) != 0)
			return fail(failure, ERROR_SETUP_FAILED, errno, "pipe");
		ends[number] = pair[1 - own];
		if (fcntl(pair[own], F_SETFL, O_NONBLOCK) != 0) {
			close(pair[own]);
			return fail(failure, ERROR_SETUP_FAILED, errno, "pipe");
		}
		if (!stream_open(spec, (enum stream_kind)number, pair[own], failure))
			return false;
	}
	return true;
}

// A child in the container's cgroup and in a new pid namespace. As after fork(2), but unknown to the C library.
static pid_t fork_container(void)
{
	int pidfd = -1;
	struct clone_args arguments = {
		.flags = CLONE_NEWPID | CLONE_PIDFD | CLONE_INTO_CGROUP,
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)cgroup,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);

	if (pid > 0) {
		container = pidfd;
		container_pid = pid;
	}
	return pid;
}

// A child in the container's cgroup and pid namespace. Children to be go to the agent's own again.
static pid_t fork_into_container(void)
{
	struct clone_args arguments = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)cgroup,
	};
	pid_t pid;
	int error;

	if (setns(container, CLONE_NEWPID) != 0)
		return -1;
	pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
	error = errno;
	if (pid != 0 && setns(own_pid_namespace, CLONE_NEWPID) != 0)
		power_fail("cannot return to the agent's pid namespace");
	errno = error;
	return pid;
}

static bool is_outside(const struct process_spec *spec)
{
	const struct tool *tool = spec->tool ? tool_find(spec->argv.items[0]) : NULL;

	return tool != NULL && tool->outside;
}

static bool start_child(struct process *process, struct launch *plan, struct failure *failure)
{
	int status[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, status) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "socket pair");
	plan->status = status[1];
	if (plan->start != NULL)
		process->pid = fork_container();
	else
		process->pid = is_outside(plan->process) ? fork() : fork_into_container();
	if (process->pid == 0) {
		close(status[0]);
		launch(plan);
	}
	close(status[1]);
	if (process->pid < 0) {
		close(status[0]);
		return fail(failure, ERROR_SETUP_FAILED, errno, "fork");
	}
	process->status = status[0];
	return true;
}

static bool add(uint16_t request, const struct process_spec *spec, const struct start_request *start,
		struct failure *failure)
{
	struct launch plan = { .process = spec, .start = start, .container = container, .streams = { -1, -1, -1 } };
	struct process *process;
	bool started;

	if (!id_is_free(spec->id))
		return fail(failure, ERROR_BAD_REQUEST, 0, "process %u exists", spec->id);
	if (process_count == MAX_PROCESSES)
		return fail(failure, ERROR_SETUP_FAILED, 0, "more than %d processes", MAX_PROCESSES);
	process = calloc(1, sizeof *process);
	if (process == NULL)
		return fail(failure, ERROR_SETUP_FAILED, ENOMEM, "process");
	process->id = spec->id;
	process->request = request;
	process->status = -1;
	started = open_streams(spec, plan.streams, failure) && start_child(process, &plan, failure);
	close_all(plan.streams, 3);
	if (!started) {
		stream_drop(spec->id);
		free(process);
		return false;
	}
	process->next = processes;
	processes = process;
	process_count++;
	return true;
}

bool process_start(uint16_t request, const struct start_request *start, struct failure *failure)
{
	if (container_made)
		return fail(failure, ERROR_BAD_REQUEST, 0, "the container was started before");
	if (own_pid_namespace < 0)
		own_pid_namespace = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	if (own_pid_namespace < 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "own pid namespace");
	container_made = true;
	return network_configure(&start->network, failure) && disk_mount(&start->root, failure) &&
	       rootfs_write_files(start, failure) && cgroup_create(&start->limits, &cgroup, failure) && add(request, &start->process, start, failure);
}

bool process_exec(uint16_t request, const struct process_spec *spec, struct failure *failure)
{
	const struct process *first = NULL;

	for (const struct process *process = processes; process != NULL; process = process->next) {
		if (container_pid != 0 && process->pid == container_pid)
			first = process;
	}
	// Before its process 1 is ready, the container has not all of its mounts.
	if (first == NULL || !first->ready || first->failed)
		return fail(failure, ERROR_BAD_REQUEST, 0, "the container is not running");
	return add(request, spec, NULL, failure);
}

bool process_signal(const struct signal_request *request, struct failure *failure)
{
	const struct process *process = find(request->process);

	if (process == NULL)
		return fail(failure, ERROR_NO_SUCH_PROCESS, 0, "no process %u", request->process);
	return kill(process->pid, request->signal) == 0 ||
	       fail(failure, ERROR_SETUP_FAILED, errno, "signal %u", request->signal);
}

bool process_resize(const struct resize_request *resize, struct failure *failure)
{
	int terminal = stream_terminal(resize->process);

	if (terminal < 0)
		return fail(failure, ERROR_NO_SUCH_PROCESS, 0, "process %u has no terminal", resize->process);
	return terminal_resize(terminal, resize->columns, resize->rows, failure);
}

// The launch is over: the process runs, or it never will.
static void conclude(struct process *process)
{
	uint8_t frame[AGENT_FRAME_SIZE];

	close(process->status);
	process->status = -1;
	if (!process->ready && !process->failed) {
		fail(&process->failure, ERROR_SETUP_FAILED, 0, "the new process died before it could be executed");
		process->failed = true;
	}
	if (process->failed) {
		stream_drop(process->id);
		control_send(frame, frame_error(frame, process->request, &process->failure));
	} else {
		control_send(frame, frame_started(frame, process->request, process->id, process->pid));
	}
}

static void take_launch_message(struct process *process)
{
	struct launch_message message;
	int master;

	if (!launch_receive(process->status, &message, &master)) {
		conclude(process);
		return;
	}
	if (message.stage == LAUNCH_READY) {
		process->ready = true;
	} else if (message.stage == LAUNCH_FAILED) {
		process->failed = true;
		process->failure = message.failure;
	} else if (master >= 0 && fcntl(master, F_SETFL, O_NONBLOCK) == 0) {
		stream_join_terminal(process->id, master);
	} else if (master >= 0) {
		close(master);
	}
}

static void status_ready(void *owner, short events)
{
	struct process *process = owner;

	(void)events;
	if (process->status >= 0)
		take_launch_message(process);
}

static void reaped(struct process *process, int wait_status)
{
	uint8_t frame[AGENT_FRAME_SIZE];
	pid_t pid = process->pid;

	while (process->status >= 0)
		take_launch_message(process); // its other end is closed: this does not block
	process->pid = 0;
	if (!process->failed)
		control_send(frame, frame_exited(frame, process->id, wait_status, cgroup_oom_killed()));
	if (pid == container_pid)
		container_pid = 0;
}

void process_reap(void)
{
	for (;;) {
		int wait_status;
		pid_t pid = waitpid(-1, &wait_status, WNOHANG);

		if (pid <= 0)
			return;
		for (struct process *process = processes; process != NULL; process = process->next) {
			if (process->pid == pid)
				reaped(process, wait_status);
		}
	}
}

void process_watch_all(void)
{
	struct process **link = &processes;

	while (*link != NULL) {
		struct process *process = *link;

		if (process->pid == 0) {
			*link = process->next;
			free(process);
			process_count--;
			continue;
		}
		if (process->status >= 0)
			loop_watch(process->status, POLLIN, status_ready, process);
		link = &process->next;
	}
}

void process_kill_container(void)
{
	// The container's processes go with their process 1; tools that work outside of it do not.
	for (const struct process *process = processes; process != NULL; process = process->next) {
		if (process->pid > 0)
			kill(process->pid, SIGKILL);
	}
}
