// Starts a program in a jail: with the descriptors, the environment and the files that it needs, and nothing else of
// the host. Does what the host allows, and reports in one line of JSON what it did.
//
//     tsvm-jail [--keep FD]... [--env NAME=VALUE]... [--read PATH]... [--device NAME]... [--write FD]...
//               [--open FD]... [--capabilities HEX] [--users FIRST:COUNT] [--report FD] [--start FD] [--filter FD]
//               [--scratch BYTES] [--stack BYTES] [--memory BYTES] [--processes COUNT] [--personality HEX]
//               [--cpu-seconds COUNT] [--files COUNT] [--file-size 0] -- PROGRAM ARGUMENT...
//     tsvm-jail pass SOCKET LINE [ro:]FD...
#include "jail.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

// What a machine with a thousand open files and shares needs, far below what exhausts a kernel.
#define MAX_OPEN_FILES 65536

static int descriptor(const char *word)
{
	char *end;
	long fd = strtol(word, &end, 10);
	if (end == word || *end != 0 || fd < 0 || fd > 1 << 20)
		refuse("not a descriptor");
	return (int)fd;
}

static void add_word(const char **words, int *count, const char *word)
{
	if (*count == MAX_WORDS)
		refuse("too many words");
	words[(*count)++] = word;
}

static void add_descriptor(int *fds, int *count, int fd)
{
	if (*count == MAX_DESCRIPTORS)
		refuse("too many descriptors");
	fds[(*count)++] = fd;
}

static void add_folder(struct jail_spec *spec, int fd, bool read_only)
{
	add_descriptor(spec->folders, &spec->folder_count, fd);
	spec->folder_is_read_only[spec->folder_count - 1] = read_only;
}

static void parse_users(const char *word, struct jail_spec *spec)
{
	if (sscanf(word, "%u:%u", &spec->first_user, &spec->user_count) != 2 || spec->first_user == 0 ||
	    spec->user_count > UINT32_MAX - spec->first_user)
		refuse("not a range of users");
}

static void parse(char **words, struct jail_spec *spec)
{
	spec->report = -1;
	spec->start = -1;
	spec->filter = -1;
	for (words++; *words != NULL && strcmp(*words, "--") != 0; words += 2) {
		const char *option = *words;
		char *value = words[1];
		if (value == NULL)
			refuse("an option lacks its value");
		if (strcmp(option, "--keep") == 0)
			add_descriptor(spec->kept, &spec->kept_count, descriptor(value));
		else if (strcmp(option, "--write") == 0 || strcmp(option, "--open") == 0)
			add_folder(spec, descriptor(value), strcmp(option, "--open") == 0);
		else if (strcmp(option, "--report") == 0)
			spec->report = descriptor(value);
		else if (strcmp(option, "--start") == 0)
			spec->start = descriptor(value);
		else if (strcmp(option, "--filter") == 0)
			spec->filter = descriptor(value);
		else if (strcmp(option, "--read") == 0)
			add_word(spec->readable, &spec->readable_count, value);
		else if (strcmp(option, "--device") == 0)
			add_word(spec->devices, &spec->device_count, value);
		else if (strcmp(option, "--env") == 0)
			add_word((const char **)spec->environment, &spec->environment_count, value);
		else if (strcmp(option, "--capabilities") == 0)
			spec->capabilities = strtoull(value, NULL, 16);
		else if (strcmp(option, "--scratch") == 0)
			spec->scratch = strtoull(value, NULL, 10);
		else if (strcmp(option, "--stack") == 0)
			spec->stack = strtoull(value, NULL, 10);
		else if (strcmp(option, "--memory") == 0)
			spec->memory = strtoull(value, NULL, 10);
		else if (strcmp(option, "--processes") == 0)
			spec->processes = strtoull(value, NULL, 10);
		else if (strcmp(option, "--cpu-seconds") == 0)
			spec->cpu_seconds = strtoull(value, NULL, 10);
		else if (strcmp(option, "--files") == 0)
			spec->files = strtoull(value, NULL, 10);
		else if (strcmp(option, "--file-size") == 0 && strcmp(value, "0") == 0)
			spec->writes_none = true;
		else if (strcmp(option, "--personality") == 0)
			spec->personality = strtoul(value, NULL, 16);
		else if (strcmp(option, "--users") == 0)
			parse_users(value, spec);
		else
			refuse("unknown option");
	}
	if (*words == NULL || words[1] == NULL)
		refuse("no program is given");
	spec->command = words + 1;
}

static bool is_kept(const struct jail_spec *spec, int fd)
{
	if (fd <= STDERR_FILENO || fd == spec->report || fd == spec->start || fd == spec->filter)
		return true;
	for (int index = 0; index < spec->kept_count; index++) {
		if (spec->kept[index] == fd)
			return true;
	}
	for (int index = 0; index < spec->folder_count; index++) {
		if (spec->folders[index] == fd)
			return true;
	}
	return false;
}

static void close_others(const struct jail_spec *spec)
{
	int last = STDERR_FILENO;
	for (int index = 0; index < spec->kept_count; index++)
		last = spec->kept[index] > last ? spec->kept[index] : last;
	for (int index = 0; index < spec->folder_count; index++)
		last = spec->folders[index] > last ? spec->folders[index] : last;
	last = spec->report > last ? spec->report : last;
	last = spec->start > last ? spec->start : last;
	last = spec->filter > last ? spec->filter : last;
	for (int fd = STDERR_FILENO + 1; fd <= last; fd++) {
		if (!is_kept(spec, fd))
			close(fd);
	}
	if (syscall(SYS_close_range, (unsigned)last + 1, ~0u, 0) == 0)
		return;
	// Before Linux 5.9.
	long most = sysconf(_SC_OPEN_MAX);
	for (int fd = last + 1; fd < most; fd++)
		close(fd);
}

// Sets a limit. A caller who has a lower one keeps that.
static void set_limit(int resource, rlim_t most)
{
	struct rlimit limit;
	if (getrlimit(resource, &limit) != 0)
		refuse("the limits cannot be read");
	if (limit.rlim_max > most)
		limit.rlim_max = most;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(resource, &limit) != 0)
		refuse("the limits cannot be set");
}

static void set_limits(const struct jail_spec *spec)
{
	set_limit(RLIMIT_CORE, 0);
	set_limit(RLIMIT_NOFILE, spec->files != 0 ? spec->files : MAX_OPEN_FILES);
	if (spec->writes_none)
		set_limit(RLIMIT_FSIZE, 0);
	if (spec->cpu_seconds != 0)
		set_limit(RLIMIT_CPU, spec->cpu_seconds);
	if (spec->stack != 0)
		set_limit(RLIMIT_STACK, spec->stack);
	if (spec->memory != 0)
		set_limit(RLIMIT_AS, spec->memory);
}

// Since Linux 5.14, a user namespace counts its own processes.
static bool namespaces_count_processes(void)
{
	struct utsname host;
	unsigned major, minor;
	return uname(&host) == 0 && sscanf(host.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 5 || (major == 5 && minor >= 14));
}

// The kernel counts the processes and threads of a user. The caller's others are not to be counted.
static void limit_processes(const struct jail_spec *spec, const struct jail_report *report)
{
	bool counts_others = spec->user == 0 && !(report->has_user_namespace && namespaces_count_processes());
	if (spec->processes != 0 && !counts_others)
		set_limit(RLIMIT_NPROC, spec->processes);
}

// The jail is made meanwhile. At the end of file, whoever would have started the program is gone, or has no need of it.
static void wait_for_start(int fd)
{
	char byte;
	ssize_t count;
	if (fd < 0)
		return;
	do
		count = read(fd, &byte, 1);
	while (count < 0 && errno == EINTR);
	if (count != 1)
		_exit(EXIT_LAUNCHER);
	close(fd);
}

int main(int argc, char **argv)
{
	static struct jail_spec spec;
	static struct jail_report report;
	if (argc < 2)
		refuse("usage: tsvm-jail [OPTION VALUE]... -- PROGRAM [ARGUMENT]...");
	if (argc > 3 && strcmp(argv[1], "pass") == 0)
		return pass_trees(descriptor(argv[2]), argv[3], argv + 4);
	parse(argv, &spec);
	close_others(&spec);
	set_limits(&spec);
	// The program ends with the process that started it, however that ends.
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	take_user(&spec, &report);
	enter_jail(&spec, &report);
	// Landlock cannot give a program files that nothing else can name.
	if (spec.scratch != 0 && !report.has_namespaces)
		refuse("there is no place for the program's own files without namespaces");
	limit_processes(&spec, &report);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		refuse("no_new_privs cannot be set");
	restrict_by_landlock(&spec, &report);
	if (!drop_capabilities(spec.capabilities))
		refuse("the capabilities cannot be given up");
	if (spec.personality != 0 && personality(spec.personality) < 0)
		refuse("the personality cannot be set");
	write_report(&spec, &report);
	read_filter(spec.filter);
	wait_for_start(spec.start);
	install_filter(spec.filter);
	execve(spec.command[0], spec.command, spec.environment);
	fprintf(stderr, "tsvm-jail: cannot execute %s: %s\n", spec.command[0], strerror(errno));
	return EXIT_NOT_EXECUTED;
}
