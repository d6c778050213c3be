// The way to the keeper of a container.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci.h"

enum {
	SOCKET = 3,
	// Milliseconds: a machine that is killed gives its memory back first.
	END_TIMEOUT = 10000,
	// Milliseconds: the guest removes the container first. The others of the machine end with a keeper that is
	// killed.
	ANSWER_TIMEOUT = 30000,
};

// Engines may give no environment at all.
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

bool read_line(int file, char line[MAX_LINE])
{
	size_t length = 0;

	while (length < MAX_LINE - 1) {
		ssize_t count = read(file, line + length, 1);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return false;
		if (line[length] == '\n') {
			line[length] = '\0';
			return true;
		}
		length++;
	}
	return false;
}

void send_line(int file, const char *format, ...)
{
	char line[MAX_LINE];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	if (length > 0 && (size_t)length < sizeof line)
		(void)!send(file, line, (size_t)length, MSG_NOSIGNAL);
}

int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path));
	if (file >= 0 && connect(file, (const struct sockaddr *)&address, sizeof address) != 0) {
		int error = errno;

		close(file);
		errno = error;
		return -1;
	}
	return file;
}

// `arguments` end with NULL. The first two are the name of the program and its path, which is set here.
static _Noreturn void run(int theirs, char **arguments)
{
	char program[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", program, sizeof program - 16);
	char *slash = length < 0 ? NULL : memrchr(program, '/', (size_t)length);
	int null = open("/dev/null", O_RDWR);
	int log = open("keeper.log", O_WRONLY | O_CREAT | O_APPEND, 0600);

	if (slash == NULL || null < 0 || log < 0)
		_exit(127);
	strcpy(slash + 1, "keeper.js");
	arguments[1] = program;
	setsid();
	if (dup2(theirs, SOCKET) < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log, 2) < 0)
		_exit(127);
	// Whoever waits for the end of what the engine gave this process waits for the stub alone.
	syscall(SYS_close_range, SOCKET + 1, ~0U, 0);
	setenv("PATH", DEFAULT_PATH, 0);
	execvp("node", arguments);
	dprintf(2, "node: %s\n", strerror(errno));
	_exit(127);
}

// Returns the socket over which it answers.
static int start(char **arguments, pid_t *process)
{
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		die("socketpair: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0)
		run(ends[1], arguments);
	close(ends[1]);
	*process = pid;
	return ends[0];
}

int keeper_start(const struct made *made)
{
	char *const given[] = {
		(char *)(uintptr_t)made->state,
		(char *)(uintptr_t)made->id,
		(char *)(uintptr_t)made->bundle,
	};
	char *arguments[] = {
		"node",
		NULL,
		"create",
		given[0],
		given[1],
		given[2],
		made->console ? "console" : "",
		made->systemd ? "systemd" : "",
		NULL,
	};
	pid_t pid;
	int keeper = start(arguments, &pid);

	state_write_process("keeper.pid", pid);
	return keeper;
}

static void write_member(FILE *out, const char *name, const char *value)
{
	fprintf(out, "\"%s\":", name);
	request_string(out, value);
	fputc(',', out);
}

int keeper_join(const struct made *made)
{
	struct request request = request_open("create");
	struct ucred peer = { 0 };
	socklen_t length = sizeof peer;
	int keeper;

	write_member(request.out, "id", made->id);
	write_member(request.out, "bundle", made->bundle);
	write_member(request.out, "state", made->state);
	fprintf(request.out, "\"console\":%s,\"systemd\":%s,\"pid\":%d", made->console ? "true" : "false",
		made->systemd ? "true" : "false", (int)getpid());
	keeper = request_send(&request, "pod");
	if (keeper >= 0 && getsockopt(keeper, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid > 0)
		state_write_process("keeper.pid", peer.pid);
	return keeper;
}

// Runs the hooks of a container that is gone, whether or not its keeper was there to the end.
static void run_poststop(void)
{
	char state[PATH_MAX];
	char *arguments[] = { "node", NULL, "poststop", state, NULL };
	char line[MAX_LINE];
	int keeper;
	pid_t pid;

	if (access("poststop", F_OK) != 0 || getcwd(state, sizeof state) == NULL)
		return;
	keeper = start(arguments, &pid);
	if (!keeper_line(keeper, line))
		warn(line);
	close(keeper);
	waitpid(pid, NULL, 0);
}

static void last_of_log(char line[MAX_LINE])
{
	FILE *log = fopen("keeper.log", "re");

	snprintf(line, MAX_LINE, "the keeper of the container ended");
	while (log != NULL && fgets(line, MAX_LINE, log) != NULL)
		line[strcspn(line, "\n")] = '\0';
	if (log != NULL)
		fclose(log);
}

bool keeper_line(int keeper, char line[MAX_LINE])
{
	for (;;) {
		if (!read_line(keeper, line)) {
			last_of_log(line);
			return false;
		}
		if (strncmp(line, "warning ", 8) != 0)
			break;
		warn(line + 8);
	}
	if (strncmp(line, "error ", 6) != 0)
		return true;
	memmove(line, line + 6, strlen(line + 6) + 1);
	return false;
}

bool keeper_plan(int keeper, struct plan *plan, char line[MAX_LINE])
{
	for (;;) {
		char *value;
		char **place = NULL;

		if (!keeper_line(keeper, line))
			return false;
		if (strcmp(line, "done") == 0)
			return true;
		if (strcmp(line, "terminal") == 0) {
			plan->terminal = true;
			continue;
		}
		if (strcmp(line, "join") == 0) {
			plan->join = true;
			continue;
		}
		if (strcmp(line, "scope") == 0) {
			plan->scope = true;
			continue;
		}
		if (strcmp(line, "hooks") == 0) {
			plan->hooks = true;
			continue;
		}
		value = strchr(line, ' ');
		if (value != NULL) {
			*value++ = '\0';
			if (strcmp(line, "cgroup") == 0 && plan->cgroup_count < MAX_CGROUPS)
				place = &plan->cgroups[plan->cgroup_count++];
			else
				place = strcmp(line, "root") == 0     ? &plan->root :
					strcmp(line, "hostname") == 0 ? &plan->hostname :
					strcmp(line, "network") == 0  ? &plan->network :
					strcmp(line, "streams") == 0  ? &plan->streams :
					strcmp(line, "control") == 0  ? &plan->control :
									NULL;
		}
		if (place == NULL) {
			snprintf(line, MAX_LINE, "the plan of the keeper is not understood");
			return false;
		}
		*place = strdup(value);
	}
}

void keeper_ask(const char *request)
{
	char line[MAX_LINE];
	int keeper = connect_to("keeper");

	if (keeper < 0)
		die("the keeper of the container is gone: %s", strerror(errno));
	send_line(keeper, "%s\n", request);
	if (!keeper_line(keeper, line))
		die("%s", line);
	close(keeper);
}

// Asks the keeper to end the container, and kills it if it does not. It ends with its machine, and answers if
// others are in that.
static void end_keeper(void)
{
	pid_t pid = state_process("keeper.pid");
	int pidfd = pid == 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
	int keeper = pidfd < 0 ? -1 : connect_to("keeper");
	struct pollfd ends[] = { { .fd = pidfd, .events = POLLIN }, { .fd = keeper, .events = POLLIN } };
	char line[MAX_LINE];
	const bool own = access("pod", F_OK) != 0;
	bool lives = false;

	if (keeper >= 0) {
		send_line(keeper, "delete\n");
		poll(ends, 2, own ? END_TIMEOUT : ANSWER_TIMEOUT);
		lives = ends[1].revents != 0 && read_line(keeper, line) && strcmp(line, "ok") == 0;
		if (!lives)
			poll(ends, 1, END_TIMEOUT);
		close(keeper);
	}
	if (pidfd >= 0)
		close(pidfd);
	// One that has not answered keeps nobody any more. One that was not asked may keep others.
	if (!lives && (keeper >= 0 || own))
		state_kill("keeper.pid");
}

void keeper_remove(const char *root, const char *id)
{
	state_kill("stub");
	end_keeper();
	if (!state_claim(root, id))
		return;
	state_remove_cgroups();
	run_poststop();
	state_remove(root, id);
}
