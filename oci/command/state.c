// The state folder of a container, and the processes that it names. A process id is used again once its
// process has ended, so the start time is kept beside it.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "oci.h"

// Milliseconds.
enum {
	KILL_TIMEOUT = 60000,
	// systemd gives processes 90 seconds before it kills them.
	SCOPE_TIMEOUT = 120000,
};

static void state_path(char path[PATH_MAX], const char *root, const char *id)
{
	const char *allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.";
	const char *name = id == NULL ? "" : id;

	if (name[0] == '\0' || name[0] == '.' || strlen(name) > NAME_MAX || name[strspn(name, allowed)] != '\0')
		die("invalid container ID format: %s", name);
	if (snprintf(path, PATH_MAX, "%s/%s", root, name) >= PATH_MAX)
		die("%s: the path is too long", root);
}

void state_make(const char *root, const char *id)
{
	char path[PATH_MAX];

	state_path(path, root, id);
	for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0711) != 0 && errno != EEXIST)
			die("mkdir %s: %s", path, strerror(errno));
		*slash = '/';
	}
	if (mkdir(path, 0700) != 0)
		errno == EEXIST ? die("container with given ID already exists") :
				  die("mkdir %s: %s", path, strerror(errno));
	if (chdir(path) != 0)
		die("%s: %s", path, strerror(errno));
}

bool state_enter(const char *root, const char *id)
{
	char path[PATH_MAX];

	state_path(path, root, id);
	return chdir(path) == 0;
}

// Returns 0 if there is no such process.
static unsigned long long start_time(pid_t pid)
{
	char path[64];
	char text[1024];
	unsigned long long started = 0;
	ssize_t length;
	char state;
	char *rest;
	int file;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return 0;
	length = read(file, text, sizeof text - 1);
	close(file);
	text[length < 0 ? 0 : length] = '\0';
	// The name may have spaces and parentheses.
	rest = strrchr(text, ')');
	if (rest == NULL ||
	    sscanf(rest, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &state,
		   &started) != 2)
		return 0;
	return state == 'Z' || state == 'X' ? 0 : started;
}

void state_write_process(const char *file, pid_t pid)
{
	char temporary[64];
	FILE *out;

	snprintf(temporary, sizeof temporary, "%s.new", file);
	out = fopen(temporary, "we");
	if (out == NULL || fprintf(out, "%d %llu\n", (int)pid, start_time(pid)) < 0 || fclose(out) != 0 ||
	    rename(temporary, file) != 0)
		die("write %s: %s", file, strerror(errno));
}

pid_t state_process(const char *file)
{
	FILE *in = fopen(file, "re");
	unsigned long long started = 0;
	int pid = 0;
	bool known;

	if (in == NULL)
		return 0;
	known = fscanf(in, "%d %llu", &pid, &started) == 2 && pid > 0 && started != 0;
	fclose(in);
	return known && start_time(pid) == started ? pid : 0;
}

int state_open(const char *file)
{
	pid_t pid = state_process(file);
	int pidfd = pid == 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);

	// Opened before it is looked at again: the descriptor is that of the right process.
	if (pidfd < 0 || state_process(file) == pid)
		return pidfd;
	close(pidfd);
	return -1;
}

void state_kill(const char *file)
{
	int pidfd = state_open(file);
	struct pollfd end = { .fd = pidfd, .events = POLLIN };

	if (pidfd < 0)
		return;
	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	poll(&end, 1, KILL_TIMEOUT);
	close(pidfd);
}

bool state_claim(const char *root, const char *id)
{
	char path[PATH_MAX];
	struct stat own;
	struct stat named;
	int folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	state_path(path, root, id);
	if (folder < 0 || flock(folder, LOCK_EX) != 0 || fstat(folder, &own) != 0)
		die("%s: %s", path, strerror(errno));
	// The next container may have the id already.
	return stat(path, &named) == 0 && named.st_dev == own.st_dev && named.st_ino == own.st_ino;
}

static void remove_files(const char *folder)
{
	DIR *directory = opendir(folder);
	const struct dirent *entry;

	while (directory != NULL && (entry = readdir(directory)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd(directory), entry->d_name, 0);
	}
	if (directory != NULL)
		closedir(directory);
	rmdir(folder);
}

// A process that is killed leaves its cgroup once its memory is given back.
static void remove_cgroup(const char *path)
{
	const struct timespec moment = { .tv_nsec = 2000000 };

	for (int waited = 0; rmdir(path) != 0 && errno == EBUSY && waited < KILL_TIMEOUT; waited += 2)
		nanosleep(&moment, NULL);
}

// Has systemd end the container's scope, and waits until it has: if another process removes the cgroup, systemd
// may miss that, and keep the scope. One that has ended by itself is unknown to it.
static void end_scope(void)
{
	char unit[NAME_MAX + 2] = "";
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	FILE *file = fopen("scope", "re");
	struct pollfd end = { .events = POLLIN };
	pid_t pid;

	if (file != NULL && fgets(unit, sizeof unit, file) == NULL)
		unit[0] = '\0';
	if (file != NULL)
		fclose(file);
	unit[strcspn(unit, "\n")] = '\0';
	pid = unit[0] == '\0' || null < 0 ? -1 : fork();
	if (pid == 0) {
		for (int number = 0; number < 3; number++)
			dup2(null, number);
		execlp("systemctl", "systemctl", "--no-ask-password", "stop", "--", unit, NULL);
		_exit(127);
	}
	close(null);
	if (pid < 0)
		return;
	end.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (end.fd < 0 || poll(&end, 1, SCOPE_TIMEOUT) <= 0)
		kill(pid, SIGKILL);
	close(end.fd);
	waitpid(pid, NULL, 0);
}

void state_remove_cgroups(void)
{
	FILE *file = fopen("cgroups", "re");
	char path[PATH_MAX];

	end_scope();

	while (file != NULL && fgets(path, sizeof path, file) != NULL) {
		path[strcspn(path, "\n")] = '\0';
		remove_cgroup(path);
	}
	if (file != NULL)
		fclose(file);
}

void state_remove(const char *root, const char *id)
{
	char path[PATH_MAX];
	char sockets[PATH_MAX];
	ssize_t length = readlink("keeper", sockets, sizeof sockets - 1);

	// A keeper that was killed leaves the folder of its sockets. One that lives keeps other containers.
	if (length > 0 && state_process("keeper.pid") == 0) {
		char *slash;

		sockets[length] = '\0';
		slash = strrchr(sockets, '/');
		if (slash != NULL && slash != sockets) {
			*slash = '\0';
			remove_files(sockets);
		}
	}
	state_path(path, root, id);
	remove_files(path);
}

static size_t read_file(const char *path, char *text, size_t size)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = file < 0 ? 0 : read(file, text, size - 1);

	if (file >= 0)
		close(file);
	text[length < 0 ? 0 : length] = '\0';
	return length < 0 ? 0 : (size_t)length;
}

// Reads the state. Returns the process; 0: it has ended.
static pid_t read_state(char *status, size_t size)
{
	pid_t pid = state_process("stub");

	if (pid == 0)
		snprintf(status, size, "stopped");
	else if (read_file("status", status, size) == 0)
		snprintf(status, size, "creating");
	return pid;
}

// Returns false while the container is being created.
static bool print_state(const char *before)
{
	static char head[1024 * 1024];
	char status[16];
	pid_t pid = read_state(status, sizeof status);

	if (read_file("head.json", head, sizeof head) == 0)
		return false;
	printf("%s%s,\"status\":\"%s\"", before, head, status);
	if (pid != 0)
		printf(",\"pid\":%d", (int)pid);
	putchar('}');
	return true;
}

void state_print(const char *id)
{
	if (!print_state(""))
		die("container %s is being created", id);
	putchar('\n');
}

void state_list(const char *root, enum list form)
{
	DIR *directory = opendir(root);
	const struct dirent *entry;
	const char *before = "";
	char status[16];

	if (form == LIST_TABLE)
		printf("%-64s %-10s %s\n", "ID", "PID", "STATUS");
	else if (form == LIST_JSON)
		putchar('[');
	while (directory != NULL && (entry = readdir(directory)) != NULL) {
		if (entry->d_name[0] == '.' || fchdir(dirfd(directory)) != 0 || chdir(entry->d_name) != 0 ||
		    access("head.json", R_OK) != 0)
			continue;
		if (form == LIST_NAMES)
			puts(entry->d_name);
		else if (form == LIST_TABLE) {
			pid_t pid = read_state(status, sizeof status);

			printf("%-64s %-10d %s\n", entry->d_name, (int)pid, status);
		} else if (print_state(before))
			before = ",";
	}
	if (directory != NULL)
		closedir(directory);
	if (form == LIST_JSON)
		puts("]");
}

void absolute_path(char path[PATH_MAX], const char *given)
{
	char at[PATH_MAX] = "";

	path[0] = '\0';
	if (given == NULL)
		return;
	if (given[0] != '/' && getcwd(at, sizeof at) == NULL)
		die("getcwd: %s", strerror(errno));
	if (snprintf(path, PATH_MAX, "%s%s%s", at, at[0] == '\0' ? "" : "/", given) >= PATH_MAX)
		die("%s: the path is too long", given);
}

bool write_pid_file(const char *path, pid_t pid)
{
	char temporary[PATH_MAX + 8];
	FILE *file;

	snprintf(temporary, sizeof temporary, "%s.tsvm", path);
	file = fopen(temporary, "we");
	return file != NULL && fprintf(file, "%d", (int)pid) >= 0 && fclose(file) == 0 && rename(temporary, path) == 0;
}
