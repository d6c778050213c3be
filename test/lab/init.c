// PID 1 of the lab. Its root is the host's own file tree over 9p. It mounts the usual file systems
// of Linux, then serves commands. Each of SLOTS virtio-serial ports carries one command at a time,
// in frames (test/lab/frames.ts).
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	SLOTS = 8,
	HEADER = 5,
	CHUNK = 1 << 16,
	MAX_FRAME = 1 << 20,
	MAX_WORDS = 4096,
	STDIN_WINDOW = 1 << 18,
	LAST_CHUNKS = 16,
};

static void die(const char *what)
{
	perror(what);
	_exit(1);
}

static void make_directories(const char *path)
{
	char partial[4096];
	snprintf(partial, sizeof partial, "%s", path);
	for (char *slash = partial + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
		*slash = '\0';
		mkdir(partial, 0755);
	}
	mkdir(partial, 0755);
}

static void mount_at(const char *type, const char *path, const char *options)
{
	make_directories(path);
	if (mount(type, path, type, 0, options) < 0)
		perror(path);
}

// A tmpfs on /tmp keeps sockets and locks off 9p. A project below /tmp has to stay visible.
static void mount_tmp(const char *project)
{
	int keep = project != NULL && strncmp(project, "/tmp/", 5) == 0 ? open(project, O_PATH | O_DIRECTORY) : -1;
	mount_at("tmpfs", "/tmp", "mode=1777,size=75%");
	if (keep < 0)
		return;
	char source[64];
	snprintf(source, sizeof source, "/proc/self/fd/%d", keep);
	make_directories(project);
	if (mount(source, project, NULL, MS_BIND, NULL) < 0)
		perror(project);
	close(keep);
}

// Guest memory gets huge pages, for which it asks. Nested paging is emulated: each page that a
// guest touches first costs a lab some 150 us.
static void allow_huge_pages(void)
{
	int file = open("/sys/kernel/mm/transparent_hugepage/shmem_enabled", O_WRONLY | O_CLOEXEC);
	if (file < 0)
		return;
	if (write(file, "advise", 6) < 0)
		perror("shmem_enabled");
	close(file);
}

static int is_module(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

// In the initial RAM file system of a kernel with modules: loads these in the order of their names,
// and goes to the root.
static void enter_root(const char *options)
{
	struct dirent **modules;
	int count = scandir("/modules", &modules, is_module, alphasort);
	for (int index = 0; index < count; index++) {
		char path[512];
		snprintf(path, sizeof path, "/modules/%s", modules[index]->d_name);
		int file = open(path, O_RDONLY | O_CLOEXEC);
		if (file < 0 || syscall(SYS_finit_module, file, "", 0) < 0)
			perror(path);
		close(file);
	}
	make_directories("/new");
	if (mount("root", "/new", "9p", 0, options) < 0 || chdir("/new") < 0)
		die("root");
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		die("root");
}

static void set_up(void)
{
	mount_at("proc", "/proc", NULL);
	mount_at("sysfs", "/sys", NULL);
	mount_at("devtmpfs", "/dev", "mode=0755");
	mount_at("devpts", "/dev/pts", "mode=0620,gid=5,ptmxmode=0666");
	mount_at("tmpfs", "/dev/shm", "mode=1777");
	mount_at("tmpfs", "/run", "mode=0755");
	mount_tmp(getenv("LAB_PROJECT"));
	mount_at("cgroup2", "/sys/fs/cgroup", NULL);
	mount_at("debugfs", "/sys/kernel/debug", NULL);
	allow_huge_pages();
	mkdir("/run/user", 0755);
	mkdir("/run/user/0", 0700);
	if (symlink("/proc/self/fd", "/dev/fd") < 0 && errno != EEXIST)
		perror("/dev/fd");
	if (sethostname("lab", 3) < 0)
		perror("sethostname");
	struct rlimit files = { 65536, 65536 };
	setrlimit(RLIMIT_NOFILE, &files);
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int inet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (inet < 0 || ioctl(inet, SIOCSIFFLAGS, &loopback) < 0)
		perror("lo");
	close(inet);
}

static void send_frame(int port, char type, const void *data, uint32_t length)
{
	static char frame[HEADER + CHUNK];
	frame[0] = type;
	memcpy(frame + 1, &length, 4);
	memcpy(frame + HEADER, data, length);
	size_t total = HEADER + length;
	for (const char *at = frame; total > 0;) {
		ssize_t written = write(port, at, total);
		if (written < 0 && errno != EINTR)
			die("port");
		if (written < 0)
			continue;
		at += written;
		total -= (size_t)written;
	}
}

struct input {
	size_t length;
	char bytes[HEADER + MAX_FRAME];
};

// Reads the bytes that are available.
static void fill(int port, struct input *input)
{
	ssize_t got = read(port, input->bytes + input->length, sizeof input->bytes - input->length);
	if (got > 0)
		input->length += (size_t)got;
	else if (got == 0)
		usleep(10000); // the host's end is not open yet
	else if (errno != EINTR && errno != EAGAIN)
		die("port");
}

// Returns the type of the first complete frame and sets its length. Returns 0 if there is none yet.
static int peek(const struct input *input, uint32_t *length)
{
	*length = 0;
	if (input->length < HEADER)
		return 0;
	memcpy(length, input->bytes + 1, 4);
	if (*length > MAX_FRAME)
		die("frame");
	return input->length < HEADER + *length ? 0 : input->bytes[0];
}

static void consume(struct input *input, uint32_t length)
{
	input->length -= HEADER + length;
	memmove(input->bytes, input->bytes + HEADER + length, input->length);
}

struct command {
	pid_t pid;
	int pidfd, in, out, err;
	bool ended;
	// Bytes that the host sent for stdin and the command has not read. The host never has more
	// than STDIN_WINDOW in flight.
	size_t pending;
	char stdin_bytes[STDIN_WINDOW];
};

// Starts the command of a start frame: working directory, number of arguments, arguments,
// environment. Each ends in NUL. Returns false if the frame is malformed.
static bool start(char *frame, uint32_t length, struct command *command)
{
	char *words[MAX_WORDS + 1];
	size_t count = 0;
	if (length == 0 || frame[length - 1] != '\0')
		return false;
	for (char *at = frame; at < frame + length && count < MAX_WORDS; at += strlen(at) + 1)
		words[count++] = at;
	if (count < 3)
		return false;
	size_t arguments = strtoul(words[1], NULL, 10);
	if (arguments < 1 || arguments > count - 2)
		return false;
	words[count] = NULL;
	char *argv[MAX_WORDS + 1];
	memcpy(argv, words + 2, arguments * sizeof *argv);
	argv[arguments] = NULL;
	int in[2], out[2], err[2];
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		die("pipe");
	command->pid = fork();
	if (command->pid < 0)
		die("fork");
	if (command->pid == 0) {
		setsid();
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		signal(SIGPIPE, SIG_DFL);
		if (chdir(words[0]) == 0) {
			environ = words + 2 + arguments;
			execvp(argv[0], argv);
		}
		fprintf(stderr, "lab: %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	command->pidfd = (int)syscall(SYS_pidfd_open, command->pid, 0);
	if (command->pidfd < 0)
		die("pidfd_open");
	close(in[0]);
	close(out[1]);
	close(err[1]);
	command->in = in[1];
	command->out = out[0];
	command->err = err[0];
	fcntl(command->in, F_SETFL, O_NONBLOCK);
	fcntl(command->out, F_SETFL, O_NONBLOCK);
	fcntl(command->err, F_SETFL, O_NONBLOCK);
	command->pending = 0;
	command->ended = false;
	return true;
}

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

// Passes on one chunk of output. Closes the pipe at its end. Returns false if nothing was
// available.
static bool relay(int port, char type, int *pipe)
{
	static char chunk[CHUNK];
	if (*pipe < 0)
		return false;
	ssize_t got = read(*pipe, chunk, sizeof chunk);
	if (got > 0)
		send_frame(port, type, chunk, (uint32_t)got);
	else if (got == 0 || (errno != EAGAIN && errno != EINTR))
		shut(pipe);
	return got > 0;
}

// Writes as much of stdin as the command takes, and tells the host that it may send as much again.
static void feed(int port, struct command *command)
{
	ssize_t taken = write(command->in, command->stdin_bytes, command->pending);
	if (taken < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	// If the command closed its stdin, the host gets credit as if the command had read
	// everything.
	uint32_t credit = taken < 0 ? (uint32_t)command->pending : (uint32_t)taken;
	if (taken < 0)
		shut(&command->in);
	command->pending -= credit;
	memmove(command->stdin_bytes, command->stdin_bytes + credit, command->pending);
	send_frame(port, 'C', &credit, 4);
}

static void serve_frame(int port, struct command *command, int type, const char *payload, uint32_t length)
{
	int32_t signal_number;
	switch (type) {
	case 'I':
		if (length > STDIN_WINDOW - command->pending)
			die("stdin window");
		memcpy(command->stdin_bytes + command->pending, payload, length);
		command->pending += length;
		feed(port, command);
		break;
	case 'E':
		command->ended = true;
		break;
	case 'K':
		if (length != 4)
			break;
		memcpy(&signal_number, payload, 4);
		kill(command->pid, signal_number);
		break;
	case 'A':
		kill(-command->pid, SIGKILL);
		break;
	}
}

// Serves one command to its end and reports its wait status to the host.
static void serve_command(int port, struct input *input, struct command *command)
{
	for (;;) {
		uint32_t length;
		for (int type; (type = peek(input, &length)) != 0; consume(input, length)) {
			serve_frame(port, command, type, input->bytes + HEADER, length);
		}
		if (command->ended && command->pending == 0)
			shut(&command->in);
		struct pollfd polled[] = {
			{ .fd = port, .events = POLLIN },
			{ .fd = command->pending > 0 ? command->in : -1, .events = POLLOUT },
			{ .fd = command->out, .events = POLLIN },
			{ .fd = command->err, .events = POLLIN },
			{ .fd = command->pidfd, .events = POLLIN },
		};
		if (poll(polled, 5, -1) < 0)
			continue;
		if (polled[0].revents)
			fill(port, input);
		if (polled[1].revents)
			feed(port, command);
		if (polled[2].revents)
			relay(port, 'O', &command->out);
		if (polled[3].revents)
			relay(port, 'R', &command->err);
		int status;
		if (polled[4].revents && waitpid(command->pid, &status, WNOHANG) == command->pid) {
			// Pass on what was written before the end, at most a pipe's capacity. Do
			// not wait for other processes that still write.
			for (int chunks = 0; chunks < LAST_CHUNKS && relay(port, 'O', &command->out); chunks++)
				continue;
			for (int chunks = 0; chunks < LAST_CHUNKS && relay(port, 'R', &command->err); chunks++)
				continue;
			uint32_t encoded = (uint32_t)status;
			send_frame(port, 'X', &encoded, 4);
			return;
		}
	}
}

// Opens the device of a port, /dev/vportNpM. N is the number of the bus's device, which depends on
// the other devices.
static int open_port(int number)
{
	// The kernel makes the node when the device's control queue has announced the port.
	for (int tries = 0; tries < 1000; tries++) {
		char pattern[32];
		snprintf(pattern, sizeof pattern, "/dev/vport*p%d", number);
		glob_t found;
		int port = glob(pattern, 0, NULL, &found) == 0 ? open(found.gl_pathv[0], O_RDWR | O_CLOEXEC) : -1;
		globfree(&found);
		if (port >= 0)
			return port;
		usleep(10000);
	}
	die("port");
	return -1;
}

static _Noreturn void serve_slot(int slot)
{
	static struct input input;
	static struct command command = { .in = -1, .out = -1, .err = -1, .pidfd = -1 };
	int port = open_port(slot + 1);
	for (;;) {
		uint32_t length;
		int type = peek(&input, &length);
		if (type == 0) {
			fill(port, &input);
			continue;
		}
		// Late frames for a command that has ended are ignored.
		bool started = type == 'S';
		if (started && !start(input.bytes + HEADER, length, &command))
			die("start frame");
		consume(&input, length);
		if (!started)
			continue;
		serve_command(port, &input, &command);
		shut(&command.in);
		shut(&command.out);
		shut(&command.err);
		shut(&command.pidfd);
	}
}

int main(void)
{
	const char *root = getenv("LAB_ROOT");
	if (root != NULL)
		enter_root(root);
	set_up();
	signal(SIGPIPE, SIG_IGN);
	for (int slot = 0; slot < SLOTS; slot++) {
		if (fork() == 0)
			serve_slot(slot);
	}
	puts("lab: ready");
	fflush(stdout);
	for (;;)
		wait(NULL);
}
