// The agent's parsers and writers as a program. The tests build it with AddressSanitizer and feed
// it.
//
//     codec frames       cases on stdin: u32 chunk size, u32 length, bytes of a control connection
//                        for each, one line: a JSON array of what the agent understood
//     codec users        cases on stdin: passwd, group, user, further group; each u32 length, bytes
//                        for each, one line: JSON of the user found, or of the error
//     codec hello KERNEL MICROSECONDS |
//           started REQUEST PROCESS PID |
//           exited PROCESS CONTAINER WAIT-STATUS OOM-KILLED |
//           error REQUEST KIND ERRNO MESSAGE |
//           stream PROCESS STREAM | done REQUEST | pong REQUEST
//                        the frame on stdout
#include <linux/bpf.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "../../../guest-agent/protocol/frame.h"
#include "../../../guest-agent/protocol/request.h"
#include "../../../guest-agent/protocol/rules.h"
#include "../../../guest-agent/process/user.h"

// The kernel's own numbers, against which the host's tables are compared.
struct bit {
	unsigned number;
	const char *name;
};

static const struct bit capabilities[] = {
	{ CAP_CHOWN, "CHOWN" },
	{ CAP_DAC_OVERRIDE, "DAC_OVERRIDE" },
	{ CAP_DAC_READ_SEARCH, "DAC_READ_SEARCH" },
	{ CAP_FOWNER, "FOWNER" },
	{ CAP_FSETID, "FSETID" },
	{ CAP_KILL, "KILL" },
	{ CAP_SETGID, "SETGID" },
	{ CAP_SETUID, "SETUID" },
	{ CAP_SETPCAP, "SETPCAP" },
	{ CAP_LINUX_IMMUTABLE, "LINUX_IMMUTABLE" },
	{ CAP_NET_BIND_SERVICE, "NET_BIND_SERVICE" },
	{ CAP_NET_BROADCAST, "NET_BROADCAST" },
	{ CAP_NET_ADMIN, "NET_ADMIN" },
	{ CAP_NET_RAW, "NET_RAW" },
	{ CAP_IPC_LOCK, "IPC_LOCK" },
	{ CAP_IPC_OWNER, "IPC_OWNER" },
	{ CAP_SYS_MODULE, "SYS_MODULE" },
	{ CAP_SYS_RAWIO, "SYS_RAWIO" },
	{ CAP_SYS_CHROOT, "SYS_CHROOT" },
	{ CAP_SYS_PTRACE, "SYS_PTRACE" },
	{ CAP_SYS_PACCT, "SYS_PACCT" },
	{ CAP_SYS_ADMIN, "SYS_ADMIN" },
	{ CAP_SYS_BOOT, "SYS_BOOT" },
	{ CAP_SYS_NICE, "SYS_NICE" },
	{ CAP_SYS_RESOURCE, "SYS_RESOURCE" },
	{ CAP_SYS_TIME, "SYS_TIME" },
	{ CAP_SYS_TTY_CONFIG, "SYS_TTY_CONFIG" },
	{ CAP_MKNOD, "MKNOD" },
	{ CAP_LEASE, "LEASE" },
	{ CAP_AUDIT_WRITE, "AUDIT_WRITE" },
	{ CAP_AUDIT_CONTROL, "AUDIT_CONTROL" },
	{ CAP_SETFCAP, "SETFCAP" },
	{ CAP_MAC_OVERRIDE, "MAC_OVERRIDE" },
	{ CAP_MAC_ADMIN, "MAC_ADMIN" },
	{ CAP_SYSLOG, "SYSLOG" },
	{ CAP_WAKE_ALARM, "WAKE_ALARM" },
	{ CAP_BLOCK_SUSPEND, "BLOCK_SUSPEND" },
	{ CAP_AUDIT_READ, "AUDIT_READ" },
	{ CAP_PERFMON, "PERFMON" },
	{ CAP_BPF, "BPF" },
	{ CAP_CHECKPOINT_RESTORE, "CHECKPOINT_RESTORE" },
};

_Static_assert(BPF_DEVCG_ACC_MKNOD == 1 && BPF_DEVCG_ACC_READ == 2 && BPF_DEVCG_ACC_WRITE == 4, "bits 0 to 2");
static const struct bit accesses[] = { { 0, "mknod" }, { 1, "read" }, { 2, "write" } };
static const struct bit namespaces[] = { { 0, "ipc" }, { 1, "uts" } };

static const char *const rlimits[] = {
	[RLIMIT_CPU] = "cpu",           [RLIMIT_FSIZE] = "fsize",
	[RLIMIT_DATA] = "data",         [RLIMIT_STACK] = "stack",
	[RLIMIT_CORE] = "core",         [RLIMIT_RSS] = "rss",
	[RLIMIT_NPROC] = "nproc",       [RLIMIT_NOFILE] = "nofile",
	[RLIMIT_MEMLOCK] = "memlock",   [RLIMIT_AS] = "as",
	[RLIMIT_LOCKS] = "locks",       [RLIMIT_SIGPENDING] = "sigpending",
	[RLIMIT_MSGQUEUE] = "msgqueue", [RLIMIT_NICE] = "nice",
	[RLIMIT_RTPRIO] = "rtprio",     [RLIMIT_RTTIME] = "rttime",
};

static void print_text(const char *text)
{
	putchar('"');
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else if ((unsigned char)*text < ' ')
			printf("\\u%04x", (unsigned char)*text);
		else
			putchar(*text);
	}
	putchar('"');
}

static void print_bits(const struct bit *bits, size_t count, uint64_t value)
{
	const char *comma = "";

	putchar('[');
	for (size_t i = 0; i < count; i++) {
		if ((value >> bits[i].number & 1) != 0) {
			printf("%s\"%s\"", comma, bits[i].name);
			comma = ",";
		}
	}
	putchar(']');
}

// The bounding set of a process, and the four beside it.
static bool is_capability_set(const char *name)
{
	static const char *const names[] = { "capabilities", "permitted", "effective", "inheritable", "ambient" };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

// The fields whose numbers have names on the host.
static bool print_named(const char *name, uint64_t value)
{
	if (is_capability_set(name)) {
		print_bits(capabilities, sizeof capabilities / sizeof *capabilities, value);
	} else if (strcmp(name, "access") == 0) {
		print_bits(accesses, sizeof accesses / sizeof *accesses, value);
	} else if (strcmp(name, "joined") == 0) {
		print_bits(namespaces, sizeof namespaces / sizeof *namespaces, value);
	} else if (strcmp(name, "name") == 0) {
		printf("\"%s\"", rlimits[value]);
	} else if (value == UNLIMITED) {
		printf("\"unlimited\"");
	} else {
		return false;
	}
	return true;
}

static uint64_t load(const void *at, size_t size)
{
	uint16_t value16;
	uint32_t value32;
	uint64_t value64;

	if (size == sizeof value16)
		return memcpy(&value16, at, size), value16;
	if (size == sizeof value32)
		return memcpy(&value32, at, size), value32;
	return memcpy(&value64, at, sizeof value64), value64;
}

static void print_program(const struct program *program)
{
	for (size_t i = 0; i < program->count; i++) {
		const uint8_t *at = program->instructions + 8 * i;

		printf("%s{\"code\":%u,\"jt\":%u,\"jf\":%u,\"k\":%u}", i > 0 ? "," : "[",
		       (unsigned)(at[0] | at[1] << 8), at[2], at[3],
		       at[4] | at[5] << 8 | at[6] << 16 | (unsigned)at[7] << 24);
	}
	putchar(']');
}

static void print_group(const struct group_rule *group, const char *from);

static void print_value(const struct field_rule *rule, const char *at)
{
	switch (rule->kind) {
	case FIELD_INTEGER:
		if (!print_named(rule->name, load(at, rule->size)))
			printf("%llu", (unsigned long long)load(at, rule->size));
		break;
	case FIELD_FLAG:
		printf(*(const bool *)at ? "true" : "false");
		break;
	case FIELD_TEXT:
	case FIELD_PATH:
		print_text(*(char *const *)at);
		break;
	case FIELD_PROGRAM:
		print_program((const struct program *)at);
		break;
	case FIELD_GROUP:
		putchar('{');
		print_group(rule->group, at);
		putchar('}');
		break;
	}
}

static bool is_absent(const struct field_rule *rule, const char *from)
{
	const char *at = from + rule->offset;

	if (rule->given != 0)
		return !*(const bool *)(from + rule->given);
	if (rule->kind == FIELD_PROGRAM)
		return ((const struct program *)at)->count == 0;
	return (rule->kind == FIELD_TEXT || rule->kind == FIELD_PATH) && !rule->repeated && *(char *const *)at == NULL;
}

// Lists of every type have the members of struct text_list.
static void print_list(const struct field_rule *rule, const char *at)
{
	size_t size = rule->kind == FIELD_GROUP ? rule->group->size : sizeof(char *);
	struct text_list list;

	memcpy(&list, at, sizeof list);
	putchar('[');
	for (size_t i = 0; i < list.count; i++) {
		printf(i > 0 ? "," : "");
		print_value(rule, (const char *)list.items + i * size);
	}
	if (rule->kind != FIELD_GROUP && list.items != NULL && list.items[list.count] != NULL)
		abort();
	putchar(']');
}

static void print_group(const struct group_rule *group, const char *from)
{
	const char *comma = "";

	for (size_t i = 0; i < group->count; i++) {
		const struct field_rule *rule = &group->fields[i];

		if (is_absent(rule, from))
			continue;
		printf("%s\"%s\":", comma, rule->name);
		comma = ",";
		if (rule->repeated)
			print_list(rule, from + rule->offset);
		else
			print_value(rule, from + rule->offset);
	}
}

static void print_request(const struct request *request, unsigned number)
{
	for (size_t i = 0; i < request_rule_count; i++) {
		const struct request_rule *rule = &request_rules[i];

		if (rule->type != request->type)
			continue;
		printf("{\"type\":\"%s\",\"request\":%u%s", rule->group->name, number,
		       rule->group->count > 0 ? "," : "");
		print_group(rule->group, (const char *)request + rule->offset);
		printf("}");
	}
}

static void print_failure(unsigned number, const struct failure *failure)
{
	printf("{\"type\":\"error\",\"request\":%u,\"kind\":%d,\"message\":", number, failure->kind);
	print_text(failure->message);
	printf("}");
}

static void print_frame(struct frame_reader *reader)
{
	struct request request;
	struct failure failure;

	if (request_decode(&request, reader->type, frame_reader_take(reader), reader->length, &failure))
		print_request(&request, reader->request);
	else
		print_failure(reader->request, &failure);
	request_free(&request);
}

static void print_frames(const uint8_t *bytes, size_t length, size_t chunk)
{
	struct frame_reader reader = { 0 };
	const char *comma = "";

	printf("[");
	for (size_t start = 0; start < length; start += chunk) {
		size_t end = length - start < chunk ? length : start + chunk;

		for (size_t at = start; at < end;) {
			size_t taken;
			enum frame_event event = frame_reader_push(&reader, bytes + at, end - at, &taken);

			at += taken;
			if (event == FRAME_INCOMPLETE)
				continue;
			printf("%s", comma);
			comma = ",";
			if (event == FRAME_COMPLETE) {
				print_frame(&reader);
			} else {
				struct failure failure;

				fail(&failure, ERROR_TOO_LARGE, 0, "%u bytes", reader.length);
				print_failure(reader.request, &failure);
			}
		}
	}
	free(frame_reader_take(&reader));
	printf("]\n");
}

static bool read_number(uint32_t *number)
{
	return fread(number, sizeof *number, 1, stdin) == 1;
}

// Reads bytes into a block of exactly their size, with a terminator on demand, so that
// AddressSanitizer sees every overrun.
static char *read_bytes(uint32_t *length, bool terminated)
{
	char *bytes;

	if (!read_number(length))
		return NULL;
	bytes = malloc(*length + (terminated ? 1 : 0));
	if (*length > 0 && fread(bytes, *length, 1, stdin) != 1)
		abort();
	if (terminated)
		bytes[*length] = '\0';
	return bytes;
}

static void frames(void)
{
	uint32_t chunk;
	uint32_t length;

	while (read_number(&chunk)) {
		char *bytes = read_bytes(&length, false);

		print_frames((const uint8_t *)bytes, length, chunk);
		free(bytes);
	}
}

static void users(void)
{
	uint32_t passwd_length;
	char *passwd;

	while ((passwd = read_bytes(&passwd_length, false)) != NULL) {
		uint32_t group_length;
		uint32_t ignored;
		char *group = read_bytes(&group_length, false);
		char *spec = read_bytes(&ignored, true);
		char *more = read_bytes(&ignored, true);
		const struct accounts accounts = {
			.passwd = passwd,
			.passwd_length = passwd_length,
			.group = group,
			.group_length = group_length,
		};
		const struct text_list groups = { .items = &more, .count = more[0] != '\0' };
		struct failure failure;
		struct user user;

		if (user_find(&user, &accounts, spec, &groups, &failure)) {
			printf("{\"uid\":%u,\"gid\":%u,\"groups\":[", user.uid, user.gid);
			for (size_t i = 0; i < user.group_count; i++)
				printf("%s%u", i > 0 ? "," : "", user.groups[i]);
			printf("],\"home\":");
			print_text(user.home);
			printf("}\n");
		} else {
			print_failure(0, &failure);
			printf("\n");
		}
		user_free(&user);
		free(passwd);
		free(group);
		free(spec);
		free(more);
	}
}

static unsigned number(const char *text)
{
	return (unsigned)strtoul(text, NULL, 10);
}

static size_t encode(uint8_t *frame, char **arguments)
{
	const char *type = arguments[0];

	if (strcmp(type, "hello") == 0)
		return frame_hello(frame, arguments[1], number(arguments[2]));
	if (strcmp(type, "hello-again") == 0)
		return frame_hello_again(frame, arguments[1], number(arguments[2]), number(arguments[3]));
	if (strcmp(type, "running") == 0)
		return frame_running(frame, number(arguments[1]), number(arguments[2]), (int)number(arguments[3]));
	if (strcmp(type, "started") == 0)
		return frame_started(frame, (uint16_t)number(arguments[1]), number(arguments[2]),
				     (int)number(arguments[3]));
	if (strcmp(type, "exited") == 0)
		return frame_exited(frame, number(arguments[1]), number(arguments[2]), (int)number(arguments[3]),
				    number(arguments[4]) == 1);
	if (strcmp(type, "stream") == 0)
		return frame_stream(frame, number(arguments[1]), (enum stream_kind)number(arguments[2]));
	if (strcmp(type, "done") == 0)
		return frame_done(frame, (uint16_t)number(arguments[1]));
	if (strcmp(type, "pong") == 0)
		return frame_pong(frame, (uint16_t)number(arguments[1]));

	struct failure failure = { .kind = (enum error_kind)number(arguments[2]), .error = (int)number(arguments[3]) };
	snprintf(failure.message, sizeof failure.message, "%s", arguments[4]);
	return frame_error(frame, (uint16_t)number(arguments[1]), &failure);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "frames") == 0) {
		frames();
	} else if (argc == 2 && strcmp(argv[1], "users") == 0) {
		users();
	} else {
		uint8_t *frame = malloc(AGENT_FRAME_SIZE);
		size_t length = encode(frame, argv + 1);

		fwrite(frame, length, 1, stdout);
		free(frame);
	}
	return 0;
}
