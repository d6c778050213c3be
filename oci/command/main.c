// The command line, as engines use runc's.
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci.h"

#define VERSION "0.1.0"
#define SPECIFICATION "1.1.0"

static const char *const features =
	"{\"ociVersionMin\":\"1.0.0\",\"ociVersionMax\":\"" SPECIFICATION "\","
	"\"hooks\":[\"prestart\",\"createRuntime\",\"createContainer\",\"startContainer\",\"poststart\",\"poststop\"],"
	"\"mountOptions\":["
	"\"async\",\"atime\",\"bind\",\"defaults\",\"dev\",\"diratime\",\"dirsync\",\"exec\","
	"\"iversion\",\"lazytime\",\"loud\",\"mand\",\"noatime\",\"nodev\",\"nodiratime\","
	"\"noexec\",\"noiversion\",\"nolazytime\",\"nomand\",\"norelatime\",\"nostrictatime\","
	"\"nosuid\",\"notmpcopyup\",\"private\",\"rbind\",\"relatime\",\"ro\",\"rprivate\",\"rro\","
	"\"rslave\",\"runbindable\",\"rw\",\"silent\",\"slave\",\"strictatime\",\"suid\",\"sync\","
	"\"tmpcopyup\",\"unbindable\""
	"],\"linux\":{\"namespaces\":[\"cgroup\",\"ipc\",\"mount\",\"network\",\"pid\",\"uts\"],\"capabilities\":["
	"\"CAP_CHOWN\",\"CAP_DAC_OVERRIDE\",\"CAP_DAC_READ_SEARCH\",\"CAP_FOWNER\",\"CAP_FSETID\","
	"\"CAP_KILL\",\"CAP_SETGID\",\"CAP_SETUID\",\"CAP_SETPCAP\",\"CAP_LINUX_IMMUTABLE\","
	"\"CAP_NET_BIND_SERVICE\",\"CAP_NET_BROADCAST\",\"CAP_NET_ADMIN\",\"CAP_NET_RAW\","
	"\"CAP_IPC_LOCK\",\"CAP_IPC_OWNER\",\"CAP_SYS_MODULE\",\"CAP_SYS_RAWIO\","
	"\"CAP_SYS_CHROOT\",\"CAP_SYS_PTRACE\",\"CAP_SYS_PACCT\",\"CAP_SYS_ADMIN\","
	"\"CAP_SYS_BOOT\",\"CAP_SYS_NICE\",\"CAP_SYS_RESOURCE\",\"CAP_SYS_TIME\","
	"\"CAP_SYS_TTY_CONFIG\",\"CAP_MKNOD\",\"CAP_LEASE\",\"CAP_AUDIT_WRITE\","
	"\"CAP_AUDIT_CONTROL\",\"CAP_SETFCAP\",\"CAP_MAC_OVERRIDE\",\"CAP_MAC_ADMIN\","
	"\"CAP_SYSLOG\",\"CAP_WAKE_ALARM\",\"CAP_BLOCK_SUSPEND\",\"CAP_AUDIT_READ\","
	"\"CAP_PERFMON\",\"CAP_BPF\",\"CAP_CHECKPOINT_RESTORE\""
	"],\"cgroup\":{\"v1\":true,\"v2\":true,\"systemd\":true,\"systemdUser\":false,\"rdma\":false},"
	"\"seccomp\":{\"enabled\":true,\"actions\":["
	"\"SCMP_ACT_KILL\",\"SCMP_ACT_KILL_THREAD\",\"SCMP_ACT_KILL_PROCESS\",\"SCMP_ACT_TRAP\","
	"\"SCMP_ACT_ERRNO\",\"SCMP_ACT_TRACE\",\"SCMP_ACT_LOG\",\"SCMP_ACT_ALLOW\""
	"],\"operators\":["
	"\"SCMP_CMP_NE\",\"SCMP_CMP_LT\",\"SCMP_CMP_LE\",\"SCMP_CMP_EQ\",\"SCMP_CMP_GE\","
	"\"SCMP_CMP_GT\",\"SCMP_CMP_MASKED_EQ\""
	"],\"archs\":[\"SCMP_ARCH_X86_64\"],\"knownFlags\":[],\"supportedFlags\":[]},"
	"\"apparmor\":{\"enabled\":false},\"selinux\":{\"enabled\":false},\"intelRdt\":{\"enabled\":false},"
	"\"mountExtensions\":{\"idmap\":{\"enabled\":false}}},"
	"\"annotations\":{\"dev.tsvm.version\":\"" VERSION "\"}}";

static const struct {
	const char *name;
	int number;
} signals[] = {
	{ "HUP", SIGHUP },   { "INT", SIGINT },   { "QUIT", SIGQUIT },   { "ILL", SIGILL },   { "TRAP", SIGTRAP },
	{ "ABRT", SIGABRT }, { "BUS", SIGBUS },   { "FPE", SIGFPE },     { "KILL", SIGKILL }, { "USR1", SIGUSR1 },
	{ "SEGV", SIGSEGV }, { "USR2", SIGUSR2 }, { "PIPE", SIGPIPE },   { "ALRM", SIGALRM }, { "TERM", SIGTERM },
	{ "CHLD", SIGCHLD }, { "CONT", SIGCONT }, { "STOP", SIGSTOP },   { "TSTP", SIGTSTP }, { "TTIN", SIGTTIN },
	{ "TTOU", SIGTTOU }, { "URG", SIGURG },   { "XCPU", SIGXCPU },   { "XFSZ", SIGXFSZ }, { "VTALRM", SIGVTALRM },
	{ "PROF", SIGPROF }, { "IO", SIGIO },     { "WINCH", SIGWINCH }, { "PWR", SIGPWR },   { "SYS", SIGSYS },
};

static int parse_signal(const char *word)
{
	const char *name = strncasecmp(word, "SIG", 3) == 0 ? word + 3 : word;
	char *end;
	long number = strtol(word, &end, 10);

	if (*end == '\0' && end != word && number > 0 && number <= 64)
		return (int)number;
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
		if (strcasecmp(name, signals[i].name) == 0)
			return signals[i].number;
	}
	die("unknown signal \"%s\"", word);
}

static const char *const no_container = "container does not exist";

static void enter(const struct options *options, const char *id)
{
	if (!state_enter(options->root, id))
		die("%s", no_container);
}

// Returns the process of the host that stands for the container.
static pid_t enter_running(const struct options *options, const char *id)
{
	pid_t pid;

	enter(options, id);
	pid = state_process("stub");
	if (pid == 0)
		die("container not running");
	return pid;
}

static void kill_container(const struct options *options, int count, char **words)
{
	static const struct option known[] = { { "all", no_argument, NULL, 'a' }, { 0 } };
	bool all = false;
	pid_t pid;

	for (int option; (option = getopt_long(count, words, "+a", known, NULL)) != -1;) {
		if (option != 'a')
			die("kill: unknown option");
		all = true;
	}
	enter(options, words[optind]);
	pid = state_process("stub");
	if (pid == 0 && all)
		return;
	if (pid == 0 || kill(pid, words[optind + 1] == NULL ? SIGTERM : parse_signal(words[optind + 1])) != 0)
		die("container not running");
}

static void delete_container(const struct options *options, int count, char **words)
{
	static const struct option known[] = { { "force", no_argument, NULL, 'f' }, { 0 } };
	const char *id;
	bool force = false;

	for (int option; (option = getopt_long(count, words, "+f", known, NULL)) != -1;) {
		if (option != 'f')
			die("delete: unknown option");
		force = true;
	}
	id = words[optind];
	if (!state_enter(options->root, id)) {
		if (force)
			return;
		die("%s", no_container);
	}
	if (!force && state_process("stub") != 0)
		die("cannot delete container %s that is not stopped", id);
	keeper_remove(options->root, id);
}

static void create_container(const struct options *options, int count, char **words)
{
	static const struct option known[] = {
		{ "bundle", required_argument, NULL, 'b' },         { "pid-file", required_argument, NULL, 'p' },
		{ "console-socket", required_argument, NULL, 'c' }, { "no-pivot", no_argument, NULL, 'n' },
		{ "no-new-keyring", no_argument, NULL, 'n' },       { 0 },
	};
	struct create call = { .bundle = "." };

	for (int option; (option = getopt_long(count, words, "+b:", known, NULL)) != -1;) {
		if (option == 'b')
			call.bundle = optarg;
		else if (option == 'p')
			call.pid_file = optarg;
		else if (option == 'c')
			call.console_socket = optarg;
		else if (option != 'n')
			die("create: unknown option");
	}
	create(options, &call, words[optind]);
}

static void add_word(struct words *words, const char *item)
{
	words->items = realloc(words->items, (words->count + 1) * sizeof *words->items);
	if (words->items == NULL)
		die("out of memory");
	words->items[words->count++] = item;
}

static int exec_in_container(const struct options *options, int count, char **words)
{
	enum { IGNORED = 1, KEPT_FILES };
	static const struct option known[] = {
		{ "process", required_argument, NULL, 'p' },
		{ "pid-file", required_argument, NULL, 'f' },
		{ "console-socket", required_argument, NULL, 's' },
		{ "detach", no_argument, NULL, 'd' },
		{ "tty", no_argument, NULL, 't' },
		{ "user", required_argument, NULL, 'u' },
		{ "additional-gids", required_argument, NULL, 'g' },
		{ "env", required_argument, NULL, 'e' },
		{ "cwd", required_argument, NULL, 'w' },
		{ "cap", required_argument, NULL, 'c' },
		{ "no-new-privs", no_argument, NULL, 'n' },
		{ "preserve-fds", required_argument, NULL, KEPT_FILES },
		// The guest has neither.
		{ "process-label", required_argument, NULL, IGNORED },
		{ "apparmor", required_argument, NULL, IGNORED },
		{ 0 },
	};
	struct exec call = { .root = options->root };

	report_code(255);
	for (int option; (option = getopt_long(count, words, "+p:dtu:g:e:c:", known, NULL)) != -1;) {
		switch (option) {
		case 'p':
			call.process = optarg;
			break;
		case 'f':
			call.pid_file = optarg;
			break;
		case 's':
			call.console_socket = optarg;
			break;
		case 'd':
			call.detach = true;
			break;
		case 't':
			call.terminal = true;
			break;
		case 'u':
			call.user = optarg;
			break;
		case 'g':
			add_word(&call.groups, optarg);
			break;
		case 'e':
			add_word(&call.env, optarg);
			break;
		case 'w':
			call.cwd = optarg;
			break;
		case 'c':
			add_word(&call.capabilities, optarg);
			break;
		case 'n':
			call.no_new_privileges = true;
			break;
		case IGNORED:
			break;
		case KEPT_FILES:
			if (strcmp(optarg, "0") != 0)
				die("exec: descriptors cannot be passed to a machine");
			break;
		default:
			die("exec: unknown option");
		}
	}
	call.id = words[optind];
	for (int i = optind + 1; i < count; i++)
		add_word(&call.args, words[i]);
	return exec_in(&call);
}

static void start_container(const struct options *options, const char *id)
{
	enter(options, id);
	if (state_process("stub") == 0)
		die("cannot start a container that has stopped");
	keeper_ask("start");
}

// Asks the keeper for what a running container alone can do.
static void ask_keeper(const struct options *options, const char *id, const char *request)
{
	enter_running(options, id);
	keeper_ask(request);
}

// Sends the request. Returns the socket over which the keeper answers.
static int send_to_running(const struct options *options, const char *id, struct request *request)
{
	int keeper;

	enter_running(options, id);
	keeper = request_send(request, "keeper");
	if (keeper < 0)
		die("container not running");
	return keeper;
}

static void update_container(const struct options *options, int count, char **words)
{
	enum { IGNORED = 1, WORD };
	static const struct option known[] = {
		{ "resources", required_argument, NULL, 'r' },
		{ "memory", required_argument, NULL, 'm' },
		{ "pids-limit", required_argument, NULL, WORD },
		{ "cpu-quota", required_argument, NULL, WORD },
		{ "cpu-period", required_argument, NULL, WORD },
		{ "cpu-rt-runtime", required_argument, NULL, WORD },
		{ "cpu-rt-period", required_argument, NULL, WORD },
		{ "cpuset-cpus", required_argument, NULL, WORD },
		{ "cpuset-mems", required_argument, NULL, WORD },
		// As in a configuration.
		{ "blkio-weight", required_argument, NULL, IGNORED },
		{ "cpu-share", required_argument, NULL, IGNORED },
		{ "memory-reservation", required_argument, NULL, IGNORED },
		{ "memory-swap", required_argument, NULL, IGNORED },
		{ "kernel-memory", required_argument, NULL, IGNORED },
		{ "kernel-memory-tcp", required_argument, NULL, IGNORED },
		{ 0 },
	};
	struct request request = request_open("update");
	const char *before = "\"words\":{";
	const char *resources = NULL;
	char line[MAX_LINE];
	int keeper;

	for (int option, index = 0; (option = getopt_long(count, words, "+r:m:", known, &index)) != -1;) {
		if (option == 'r') {
			resources = optarg;
		} else if (option == 'm' || option == WORD) {
			fputs(before, request.out);
			request_string(request.out, option == 'm' ? "memory" : known[index].name);
			fputc(':', request.out);
			request_string(request.out, optarg);
			before = ",";
		} else if (option != IGNORED) {
			die("update: unknown option");
		}
	}
	fputs(strcmp(before, ",") == 0 ? "}" : "\"words\":{}", request.out);
	if (resources != NULL) {
		fputs(",\"resources\":", request.out);
		request_file(request.out, resources);
	}
	keeper = send_to_running(options, words[optind], &request);
	if (!keeper_line(keeper, line))
		die("%s", line);
	close(keeper);
}

// Prints events until the container has ended.
static void print_events(const struct options *options, int count, char **words)
{
	static const struct option known[] = {
		{ "stats", no_argument, NULL, 's' },
		{ "interval", required_argument, NULL, 'i' },
		{ 0 },
	};
	struct request request = request_open("events");
	const char *interval = NULL;
	bool stats = false;
	char line[MAX_LINE];
	int keeper;

	for (int option; (option = getopt_long(count, words, "+", known, NULL)) != -1;) {
		if (option == 's')
			stats = true;
		else if (option == 'i')
			interval = optarg;
		else
			die("events: unknown option");
	}
	fprintf(request.out, "\"stats\":%s", stats ? "true" : "false");
	if (interval != NULL) {
		fputs(",\"interval\":", request.out);
		request_string(request.out, interval);
	}
	keeper = send_to_running(options, words[optind], &request);
	for (;;) {
		if (!keeper_line(keeper, line))
			die("%s", line);
		if (strncmp(line, "event ", 6) != 0)
			break;
		puts(line + 6);
		fflush(stdout);
	}
	close(keeper);
}

// Returns true if `--format json` is asked for.
static bool parse_format(int count, char **words, bool *quiet)
{
	static const struct option known[] = {
		{ "format", required_argument, NULL, 'f' },
		{ "quiet", no_argument, NULL, 'q' },
		{ 0 },
	};
	bool json = false;

	for (int option; (option = getopt_long(count, words, "+f:q", known, NULL)) != -1;) {
		if (option == 'f' && (strcmp(optarg, "json") == 0 || strcmp(optarg, "table") == 0))
			json = strcmp(optarg, "json") == 0;
		else if (option == 'q')
			*quiet = true;
		else
			die("%s: unknown option", words[0]);
	}
	return json;
}

// The host has one process of a container. Its programs are the guest's.
static void print_processes(const struct options *options, int count, char **words)
{
	bool quiet = false;
	bool json = parse_format(count, words, &quiet);

	printf(json ? "[%d]\n" : "PID\n%d\n", (int)enter_running(options, words[optind]));
}

static void list_containers(const struct options *options, int count, char **words)
{
	bool quiet = false;
	bool json = parse_format(count, words, &quiet);

	state_list(options->root, quiet ? LIST_NAMES : json ? LIST_JSON : LIST_TABLE);
}

static const char *default_root(void)
{
	static char root[PATH_MAX];
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (geteuid() == 0 || runtime == NULL)
		return "/run/tsvm-oci";
	snprintf(root, sizeof root, "%s/tsvm-oci", runtime);
	return root;
}

static void parse_options(int count, char **words, struct options *options)
{
	static const struct option known[] = {
		{ "root", required_argument, NULL, 'r' },       { "log", required_argument, NULL, 'l' },
		{ "log-format", required_argument, NULL, 'f' }, { "debug", no_argument, NULL, 'd' },
		{ "systemd-cgroup", no_argument, NULL, 's' },   { "rootless", required_argument, NULL, 'd' },
		{ "version", no_argument, NULL, 'v' },          { 0 },
	};

	for (int option; (option = getopt_long(count, words, "+v", known, NULL)) != -1;) {
		if (option == 'r')
			options->root = optarg;
		else if (option == 'l')
			options->log = optarg;
		else if (option == 'f')
			options->json = strcmp(optarg, "json") == 0;
		else if (option == 's')
			options->systemd = true;
		else if (option == 'v') {
			printf("tsvm-oci version " VERSION "\nspec: " SPECIFICATION "\n");
			exit(0);
		} else if (option != 'd')
			die("unknown option");
		report_to(options);
	}
}

int main(int count, char **words)
{
	struct options options = { .root = default_root() };
	const char *command;

	// What engines leave open beside the standard streams is nobody's here.
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0);
	parse_options(count, words, &options);
	if (optind >= count)
		die("usage: tsvm-oci [--root DIRECTORY] [--log FILE] COMMAND [ARGUMENT...]");
	command = words[optind];
	words += optind;
	count -= optind;
	optind = 1;
	if (strcmp(command, "create") == 0)
		create_container(&options, count, words);
	else if (strcmp(command, "start") == 0)
		start_container(&options, words[1]);
	else if (strcmp(command, "state") == 0) {
		enter(&options, words[1]);
		state_print(words[1]);
	} else if (strcmp(command, "kill") == 0)
		kill_container(&options, count, words);
	else if (strcmp(command, "delete") == 0)
		delete_container(&options, count, words);
	else if (strcmp(command, "pause") == 0 || strcmp(command, "resume") == 0)
		ask_keeper(&options, words[1], command);
	else if (strcmp(command, "update") == 0)
		update_container(&options, count, words);
	else if (strcmp(command, "events") == 0)
		print_events(&options, count, words);
	else if (strcmp(command, "ps") == 0)
		print_processes(&options, count, words);
	else if (strcmp(command, "list") == 0)
		list_containers(&options, count, words);
	else if (strcmp(command, "exec") == 0)
		return exec_in_container(&options, count, words);
	else if (strcmp(command, "hook") == 0) // the keeper's call
		return run_hook(count, words);
	else if (strcmp(command, "features") == 0)
		puts(features);
	else
		die("%s: not supported", command);
	return 0;
}
