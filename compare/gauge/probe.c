// Looks at what code inside of a level sees, and which doors of the kernel are open to it. Nothing is
// exploited: each door is tried with a request that changes nothing, or that the kernel refuses after
// it has looked for the right.
#include "gauge.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CONNECT_MS = 500, SYSLOG_READ_ALL = 3 };

/** Prints `NAME open` or `NAME closed`, and why. */
static void tell(const char *name, bool open)
{
	printf("%s %s %s\n", name, open ? "open" : "closed", open ? "" : strerror(errno));
}

/** Prints `NAME = VALUE`. The host compares the value with its own. */
static void tell_value(const char *name, const char *value)
{
	printf("%s = %s\n", name, value);
}

static void tell_file(const char *name, const char *path)
{
	char text[256] = "";
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
	if (length > 0)
		text[strcspn(text, "\n")] = '\0';
	tell_value(name, length > 0 ? text : "");
	if (file >= 0)
		close(file);
}

static bool close_if_open(long file)
{
	if (file < 0)
		return false;
	close((int)file);
	return true;
}

static bool opens(const char *path, int flags)
{
	return close_if_open(open(path, flags | O_CLOEXEC | O_NONBLOCK));
}

/** Opens a block device of /dev, if there is one. */
static bool opens_disk(void)
{
	DIR *folder = opendir("/dev");
	if (folder == NULL)
		return false;
	bool found = false;
	errno = ENOENT;
	for (struct dirent *entry; !found && (entry = readdir(folder)) != NULL;) {
		char path[sizeof("/dev/") + sizeof(entry->d_name)];
		struct stat status;
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		if (stat(path, &status) == 0 && S_ISBLK(status.st_mode))
			found = opens(path, O_RDONLY);
	}
	int error = found ? 0 : errno;
	closedir(folder);
	errno = error == 0 ? ENOENT : error;
	return found;
}

static bool makes_bpf_map(void)
{
	union bpf_attr attributes;
	memset(&attributes, 0, sizeof(attributes));
	attributes.map_type = BPF_MAP_TYPE_ARRAY;
	attributes.key_size = 4;
	attributes.value_size = 4;
	attributes.max_entries = 1;
	return close_if_open(syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof(attributes)));
}

static bool makes_io_uring(void)
{
	struct io_uring_params parameters;
	memset(&parameters, 0, sizeof(parameters));
	return close_if_open(syscall(SYS_io_uring_setup, 1, &parameters));
}

/** Counts the kernel's own instructions, which only a privileged process may. */
static bool counts_kernel(void)
{
	struct perf_event_attr attributes;
	memset(&attributes, 0, sizeof(attributes));
	attributes.type = PERF_TYPE_SOFTWARE;
	attributes.size = sizeof(attributes);
	attributes.config = PERF_COUNT_SW_CPU_CLOCK;
	attributes.disabled = 1;
	return close_if_open(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0));
}

/** Returns what `act` returns in a child, whose end undoes it. */
static bool in_child(bool (*act)(void))
{
	pid_t child = fork();
	if (child < 0)
		return false;
	if (child == 0)
		_exit(act() ? 0 : errno);
	int status;
	while (waitpid(child, &status, 0) != child)
		if (errno != EINTR)
			return false;
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
	return errno == 0;
}

static bool makes_user_namespace(void)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
}

static bool traces(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0;
}

/** An invalid module and an invalid tick: the kernel looks for the right first. */
static bool loads_modules(void)
{
	syscall(SYS_init_module, NULL, 0, "");
	return errno != EPERM && errno != ENOSYS;
}

static bool sets_clock(void)
{
	struct timex change = { .modes = ADJ_TICK, .tick = 1 };
	adjtimex(&change);
	return errno != EPERM && errno != ENOSYS;
}

static bool reads_log(void)
{
	char text[64];
	return klogctl(SYSLOG_READ_ALL, text, sizeof(text)) >= 0;
}

static bool connects(const char *address, const char *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	inet_pton(AF_INET, address, &to.sin_addr);
	int file = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (file < 0)
		return false;
	int error = connect(file, (struct sockaddr *)&to, sizeof(to)) == 0 ? 0 : errno;
	if (error == EINPROGRESS) {
		struct pollfd waiting = { .fd = file, .events = POLLOUT };
		socklen_t size = sizeof(error);
		error = ETIMEDOUT;
		if (poll(&waiting, 1, CONNECT_MS) == 1)
			getsockopt(file, SOL_SOCKET, SO_ERROR, &error, &size);
	}
	close(file);
	errno = error;
	return error == 0;
}

int gauge_probe(const char *pid, const char *port)
{
	struct utsname names;
	uname(&names);
	tell_value("release", names.release);
	tell_file("boot", "/proc/sys/kernel/random/boot_id");
	struct sysinfo system;
	char bytes[32] = "";
	if (sysinfo(&system) == 0)
		snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)system.totalram * system.mem_unit);
	tell_value("memory", bytes);
	char path[64];
	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	tell_file("process", path);
	tell("log", reads_log());
	tell("disk", opens_disk());
	tell("kvm", opens("/dev/kvm", O_RDWR));
	tell("sysctl", opens("/proc/sys/kernel/core_pattern", O_WRONLY));
	tell("modules", loads_modules());
	tell("clock", sets_clock());
	tell("bpf", makes_bpf_map());
	tell("io_uring", makes_io_uring());
	tell("userfaultfd", close_if_open(syscall(SYS_userfaultfd, O_CLOEXEC)));
	tell("perf", counts_kernel());
	tell("keyring", syscall(SYS_keyctl, 0, -3, 0) >= 0);
	tell("ptrace", in_child(traces));
	tell("user-namespace", in_child(makes_user_namespace));
	tell("loopback", connects("127.0.0.1", port));
	tell("metadata", connects("169.254.169.254", "80"));
	return 0;
}
