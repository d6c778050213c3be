// What a request says of a process.
#include <stdlib.h>
#include <sys/resource.h>

#include "protocol/request-groups.h"

// Docker's default set: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW,
// SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP.
static const uint64_t default_capabilities = 0xa80425fb;

enum {
	MAX_ARGUMENT = 131071, // the kernel's MAX_ARG_STRLEN, less the NUL
	MAX_NAME = 255,
	LAST_CAPABILITY = 63,
	INSTRUCTION_SIZE = 8,
	MAX_INSTRUCTIONS = 4096, // BPF_MAXINSNS
};

struct group enter_process(const struct field *field)
{
	const uint32_t repeated = 1U << PROCESS_ARGV | 1U << PROCESS_ENV | 1U << PROCESS_GROUPS | 1U << PROCESS_RLIMITS;

	return enter_group(field, "process", repeated);
}

static void decode_terminal(struct decoder *decoder, struct group group, struct process_spec *process)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case TERMINAL_COLUMNS:
			process->columns = (uint16_t)field_integer(decoder, &field, 0, UINT16_MAX);
			break;
		case TERMINAL_ROWS:
			process->rows = (uint16_t)field_integer(decoder, &field, 0, UINT16_MAX);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require_field(decoder, &group, TERMINAL_COLUMNS);
	require_field(decoder, &group, TERMINAL_ROWS);
	process->terminal = true;
}

static void decode_rlimit(struct decoder *decoder, struct group group, struct rlimit_spec *rlimit)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case RLIMIT_RESOURCE:
			rlimit->resource = (uint32_t)field_integer(decoder, &field, 0, RLIM_NLIMITS - 1);
			break;
		case RLIMIT_SOFT:
			rlimit->soft = field_integer(decoder, &field, 0, UNLIMITED);
			break;
		case RLIMIT_HARD:
			rlimit->hard = field_integer(decoder, &field, 0, UNLIMITED);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require_field(decoder, &group, RLIMIT_RESOURCE);
	require_field(decoder, &group, RLIMIT_SOFT);
	require_field(decoder, &group, RLIMIT_HARD);
}

static void decode_rlimits(struct decoder *decoder, const struct field *field, struct process_spec *process)
{
	struct rlimit_spec *rlimits = field_grow(decoder, field, process->rlimits, process->rlimit_count, sizeof *rlimits);

	if (rlimits == NULL)
		return;
	process->rlimits = rlimits;
	rlimits[process->rlimit_count] = (struct rlimit_spec){ 0 };
	decode_rlimit(decoder, enter_group(field, "rlimit", 0), &rlimits[process->rlimit_count++]);
}

static void decode_seccomp(struct decoder *decoder, const struct field *field, struct process_spec *process)
{
	if (field->length == 0 || field->length % INSTRUCTION_SIZE != 0 ||
	    field->length > MAX_INSTRUCTIONS * INSTRUCTION_SIZE)
		refuse_field(decoder, ERROR_BAD_REQUEST, field, "is not 1 to 4096 instructions");
	process->seccomp = field->value;
	process->seccomp_count = field->length / INSTRUCTION_SIZE;
}

void decode_process(struct decoder *decoder, struct group group, struct process_spec *process)
{
	struct field field;

	process->cwd = "/";
	process->user = "";
	process->capabilities = default_capabilities;
	process->port = AGENT_PORT;
	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case PROCESS_ID:
			process->id = (uint32_t)field_integer(decoder, &field, 1, UINT32_MAX);
			break;
		case PROCESS_ARGV:
			field_append(decoder, &field, MAX_ARGUMENT, &process->argv);
			break;
		case PROCESS_ENV:
			field_append(decoder, &field, MAX_ARGUMENT, &process->env);
			break;
		case PROCESS_CWD:
			process->cwd = field_path(decoder, &field);
			break;
		case PROCESS_USER:
			process->user = field_text(decoder, &field, MAX_NAME);
			break;
		case PROCESS_GROUPS:
			field_append(decoder, &field, MAX_NAME, &process->groups);
			break;
		case PROCESS_TERMINAL:
			decode_terminal(decoder, enter_group(&field, "terminal", 0), process);
			break;
		case PROCESS_STDIN:
			process->open_stdin = field_flag(decoder, &field);
			break;
		case PROCESS_CAPABILITIES:
			process->capabilities = field_integer(decoder, &field, 0, UINT64_MAX);
			break;
		case PROCESS_NO_NEW_PRIVILEGES:
			process->no_new_privileges = field_flag(decoder, &field);
			break;
		case PROCESS_RLIMITS:
			decode_rlimits(decoder, &field, process);
			break;
		case PROCESS_SECCOMP:
			decode_seccomp(decoder, &field, process);
			break;
		case PROCESS_TOOL:
			process->tool = field_flag(decoder, &field);
			break;
		case PROCESS_PORT:
			process->port = (uint32_t)field_integer(decoder, &field, AGENT_PORT, UINT32_MAX - 1);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require_field(decoder, &group, PROCESS_ID);
	require_field(decoder, &group, PROCESS_ARGV);
}

void free_process(struct process_spec *process)
{
	free(process->argv.items);
	free(process->env.items);
	free(process->groups.items);
	free(process->rlimits);
}
