// The table of processes. An entry is freed once the process is reaped and its launch is over. Its
// streams live on until they are drained. The first process of a container in another one's pid
// namespace leaves its entry until the container's other processes are gone, which no kernel kills
// with it, and those that the host started are reaped: the container can be removed then.
#include "process/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/loop.h"
#include "container/cgroup.h"
#include "container/container.h"
#include "process/fork.h"
#include "process/launch.h"
#include "process/stream.h"
#include "process/terminal.h"
#include "protocol/frame.h"
#include "protocol/outbox.h"
#include "tools/tool.h"

enum { MAX_PROCESSES = 256 };

struct process {
	struct process *next;
	uint32_t id;
	uint16_t request;
	struct container *container;
	bool first; // process 1 of the container
	bool tool;
	bool outside; // a tool in the agent's cgroup
	pid_t pid;    // 0 once reaped
	bool held;    // its end is not reported yet: others of the container are not gone
	int others;   // see cgroup_kill(): processes of the container that are being killed; -1: none
	int ended;    // once reaped, as of waitpid(2)
	int status;   // of the launch; -1 once it is over
	bool ready;
	bool failed;
	struct failure failure;
};

static struct process *processes;
static size_t process_count;

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

// Opens the process's streams. `ends` are the process's ends of the pipes.
static bool open_streams(const struct process_request *spec, int ends[3], struct failure *failure)
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

static bool is_outside(const struct process_request *spec)
{
	const struct tool *tool = spec->tool ? tool_find(spec->argv.items[0]) : NULL;

	return tool != NULL && tool->outside;
}

// Stores the container whose pid namespace another one is in; NULL: its own. Returns false, with a
// failure, if that has none.
static bool find_joined(const struct container *container, const struct container **joined, struct failure *failure)
{
	const uint32_t id = container->spec->processes_of;

	*joined = id != 0 ? container_find(id, failure) : NULL;
	if (id == 0 || (*joined != NULL && (*joined)->state == CONTAINER_RUNNING))
		return true;
	return fail(failure, ERROR_BAD_REQUEST, 0, "container %u, whose pid namespace it joins, is not running", id);
}

static bool start_child(struct process *process, struct launch *plan, struct failure *failure)
{
	const struct container *joined = NULL;
	int status[2];

	if (process->first && !find_joined(process->container, &joined, failure))
		return false;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, status) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "socket pair");
	plan->status = status[1];
	if (process->first)
		process->pid = fork_first(process->container, joined);
	else
		process->pid = is_outside(plan->process) ? fork() : fork_into(process->container);
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

bool process_start(uint16_t request, const struct process_request *spec, struct failure *failure)
{
	struct launch plan = { .process = spec, .streams = { -1, -1, -1 } };
	struct container *container = container_find(spec->container, failure);
	struct process *process;
	bool started;

	if (container == NULL)
		return false;
	if (container->state != CONTAINER_CREATED && container->state != CONTAINER_RUNNING)
		return fail(failure, ERROR_BAD_REQUEST, 0, "container %u is not running", spec->container);
	// As process 1 it would give the agent's mounts to the container's other processes.
	if (container->state == CONTAINER_CREATED && is_outside(spec))
		return fail(failure, ERROR_BAD_REQUEST, 0, "tool %s needs container %u to run", spec->argv.items[0],
			    spec->container);
	if (!id_is_free(spec->id))
		return fail(failure, ERROR_BAD_REQUEST, 0, "process %u exists", spec->id);
	if (process_count == MAX_PROCESSES)
		return fail(failure, ERROR_SETUP_FAILED, 0, "more than %d processes", MAX_PROCESSES);
	process = calloc(1, sizeof *process);
	if (process == NULL)
		return fail(failure, ERROR_SETUP_FAILED, ENOMEM, "process");
	process->id = spec->id;
	process->request = request;
	process->container = container;
	process->first = container->state == CONTAINER_CREATED;
	process->tool = spec->tool;
	process->outside = is_outside(spec);
	process->status = -1;
	process->others = -1;
	plan.container = container;
	plan.first = process->first;
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

bool process_remove_container(const struct remove_request *remove, struct failure *failure)
{
	struct container *container = container_find(remove->container, failure);

	if (container == NULL)
		return false;
	for (const struct process *process = processes; process != NULL; process = process->next) {
		if (process->container == container && (process->pid != 0 || process->held))
			return fail(failure, ERROR_BAD_REQUEST, 0, "process %u runs in container %u", process->id,
				    container->id);
	}
	return container_remove(container, failure);
}

bool process_signal(const struct signal_request *request, struct failure *failure)
{
	const struct process *process = find(request->process);

	if (process == NULL)
		return fail(failure, ERROR_NO_SUCH_PROCESS, 0, "no process %u", request->process);
	// It leads a session, and so the process group of the same number.
	return kill(request->group ? -process->pid : process->pid, request->signal) == 0 ||
	       fail(failure, ERROR_SETUP_FAILED, errno, "signal %u", request->signal);
}

bool process_resize(const struct resize_request *resize, struct failure *failure)
{
	int terminal = stream_terminal(resize->process);

	if (terminal < 0)
		return fail(failure, ERROR_NO_SUCH_PROCESS, 0, "process %u has no terminal", resize->process);
	return terminal_resize(terminal, resize->columns, resize->rows, failure);
}

static void launch_failed(struct process *process)
{
	process->failed = true;
	if (process->first)
		process->container->state = CONTAINER_ENDED;
	stream_drop(process->id);
}

// The launch is over. A failure is answered when the process is reaped: nothing is left of it then.
static void conclude(struct process *process)
{
	uint8_t frame[AGENT_FRAME_SIZE];

	close(process->status);
	process->status = -1;
	if (!process->ready && !process->failed) {
		fail(&process->failure, ERROR_SETUP_FAILED, 0, "the new process died before it could be executed");
		launch_failed(process);
	}
	if (!process->failed)
		outbox_send(frame, frame_started(frame, process->request, process->id, process->pid));
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
		if (process->first)
			process->container->state = CONTAINER_RUNNING;
	} else if (message.stage == LAUNCH_FAILED) {
		process->failure = message.failure;
		launch_failed(process);
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

// Nothing is left of the process, nor of the container if it was its first one.
static void report_end(struct process *process)
{
	struct container *container = process->container;
	uint8_t frame[AGENT_FRAME_SIZE];

	if (process->failed) {
		outbox_send(frame, frame_error(frame, process->request, &process->failure));
	} else {
		// A tool outside of the container is not told of the kills in it: its processes are.
		bool oom_killed = !process->outside && cgroup_oom_killed(container->cgroup, &container->oom_kills);

		outbox_send(frame, frame_exited(frame, process->id, container->id, process->ended, oom_killed));
	}
}

// Returns true if a process that the host started in the container is not reaped.
static bool has_unreaped(const struct container *container)
{
	for (const struct process *process = processes; process != NULL; process = process->next) {
		if (process->container == container && process->pid != 0 && !process->outside)
			return true;
	}
	return false;
}

// Reports what was held of the container, if nothing is left of it.
static void report_held(struct container *container)
{
	for (struct process *process = processes; process != NULL; process = process->next) {
		if (process->container != container || !process->held)
			continue;
		if (process->others >= 0 || has_unreaped(container))
			return;
		process->held = false;
		report_end(process);
	}
}

static void others_ready(void *owner, short events)
{
	struct process *process = owner;

	(void)events;
	if (cgroup_is_populated(process->others))
		return;
	close(process->others);
	process->others = -1;
	report_held(process->container);
}

// Kills what is left of a container in another one's pid namespace.
static void kill_others(struct process *first)
{
	first->held = true;
	first->others = cgroup_kill(first->container->cgroup);
	for (const struct process *process = processes; process != NULL; process = process->next) {
		if (process->container == first->container && process->pid > 0 && !process->outside)
			kill(process->pid, SIGKILL);
	}
}

static void reaped(struct process *process, int wait_status)
{
	struct container *container = process->container;

	while (process->status >= 0)
		take_launch_message(process);
	stream_release_terminal(process->id);
	process->pid = 0;
	process->ended = wait_status;
	if (process->first && container->spec->processes_of != 0)
		kill_others(process);
	else
		report_end(process);
	if (process->first)
		container_end(container);
	report_held(container);
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

		if (process->pid == 0 && !process->held) {
			*link = process->next;
			free(process);
			process_count--;
			continue;
		}
		if (process->others >= 0)
			loop_watch(process->others, POLLPRI, others_ready, process);
		// Whoever it works for is gone. It may be silent, or wait in open(2), so no write tells it.
		if (process->pid != 0 && process->tool && !process->first && stream_output_is_deserted(process->id))
			kill(process->pid, SIGKILL);
		if (process->status >= 0)
			loop_watch(process->status, POLLIN, status_ready, process);
		link = &process->next;
	}
}

bool process_is_any_loose(void)
{
	for (const struct process *process = processes; process != NULL; process = process->next) {
		if (process->pid > 0 && (process->status >= 0 || process->outside))
			return true;
	}
	return false;
}

static bool is_running(const struct process *process)
{
	return process->pid > 0 && !process->failed;
}

size_t process_count_running(void)
{
	size_t count = 0;

	for (const struct process *process = processes; process != NULL; process = process->next)
		count += is_running(process) ? 1 : 0;
	return count;
}

void process_report_running(void)
{
	uint8_t frame[AGENT_FRAME_SIZE];

	for (const struct process *process = processes; process != NULL; process = process->next) {
		if (is_running(process))
			outbox_send(frame, frame_running(frame, process->id, process->container->id, process->pid));
	}
}

void process_kill_all(void)
{
	// Killing process 1 of a pid namespace kills all that are in it. Tools outside of containers are killed
	// one by one.
	for (const struct process *process = processes; process != NULL; process = process->next) {
		if (process->pid > 0)
			kill(process->pid, SIGKILL);
	}
}
