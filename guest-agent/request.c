// Decoding requests. A decoder remembers its first failure and from then on reads no more fields, so that the functions
// for each group need no checks of their own.
#include "request.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

// Docker's default set: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW,
// SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP.
static const uint64_t default_capabilities = 0xa80425fb;
static const uint64_t default_shm_size = 64 * 1024 * 1024;

enum {
	MAX_ARGUMENT = 131071, // the kernel's MAX_ARG_STRLEN, less the NUL
	MAX_PATH = PATH_MAX - 1,
	MAX_NAME = 255,
	MAX_HOSTNAME = 64, // __NEW_UTS_LEN
	MAX_SIGNAL = 64,
	MAX_SHARE = 99999,
	MAX_INTERFACE = 15, // IFNAMSIZ, less the NUL
	MAX_ADDRESS = 49,   // an IPv6 address with a prefix length
	LAST_CAPABILITY = 63,
	INSTRUCTION_SIZE = 8,
	MAX_INSTRUCTIONS = 4096, // BPF_MAXINSNS
};

struct decoder {
	struct failure *failure;
	bool failed;
};

// The fields of one group that are still to be read.
struct group {
	const char *name;
	uint8_t *bytes;
	size_t length;
	uint32_t repeated; // tags, one bit each, that may come again
	uint32_t seen;
};

struct field {
	const char *group;
	uint16_t tag;
	uint8_t *value;
	uint32_t length;
};

static void refuse(struct decoder *decoder, enum error_kind kind, const struct field *field, const char *why)
{
	if (!decoder->failed)
		fail(decoder->failure, kind, 0, "%s: field %u %s", field->group, field->tag, why);
	decoder->failed = true;
}

static void refuse_group(struct decoder *decoder, const char *name, const char *why)
{
	if (!decoder->failed)
		fail(decoder->failure, ERROR_BAD_REQUEST, 0, "%s: %s", name, why);
	decoder->failed = true;
}

// False at the end of the group or after a failure.
static bool next_field(struct decoder *decoder, struct group *group, struct field *field)
{
	const uint8_t *header = group->bytes;

	if (decoder->failed || group->length == 0)
		return false;
	field->group = group->name;
	if (group->length < FIELD_HEADER_LENGTH) {
		refuse_group(decoder, group->name, "a field is cut short");
		return false;
	}
	field->tag = (uint16_t)(header[0] | header[1] << 8);
	field->length = (uint32_t)header[2] | (uint32_t)header[3] << 8 | (uint32_t)header[4] << 16 |
			(uint32_t)header[5] << 24;
	field->value = group->bytes + FIELD_HEADER_LENGTH;
	if (group->length - FIELD_HEADER_LENGTH < field->length) {
		refuse(decoder, ERROR_BAD_REQUEST, field, "is cut short");
		return false;
	}
	group->bytes += FIELD_HEADER_LENGTH + field->length;
	group->length -= FIELD_HEADER_LENGTH + field->length;

	if (field->tag < 32) {
		uint32_t bit = UINT32_C(1) << field->tag;

		if ((group->seen & bit) != 0 && (group->repeated & bit) == 0) {
			refuse(decoder, ERROR_BAD_REQUEST, field, "is given twice");
			return false;
		}
		group->seen |= bit;
	}
	return true;
}

static void unknown_field(struct decoder *decoder, const struct field *field)
{
	if (field->tag < FIRST_OPTIONAL_TAG)
		refuse(decoder, ERROR_UNSUPPORTED, field, "is unknown");
}

static void require(struct decoder *decoder, const struct group *group, uint16_t tag)
{
	struct field field = { .group = group->name, .tag = tag };

	if ((group->seen & UINT32_C(1) << tag) == 0)
		refuse(decoder, ERROR_BAD_REQUEST, &field, "is missing");
}

static uint64_t integer(struct decoder *decoder, const struct field *field, uint64_t min, uint64_t max)
{
	uint64_t value = 0;

	if (field->length != 8) {
		refuse(decoder, ERROR_BAD_REQUEST, field, "is not an integer of 8 bytes");
		return min;
	}
	for (size_t i = 0; i < 8; i++)
		value |= (uint64_t)field->value[i] << 8 * i;
	if (value < min || value > max) {
		refuse(decoder, ERROR_BAD_REQUEST, field, "is out of range");
		return min;
	}
	return value;
}

static bool flag(struct decoder *decoder, const struct field *field)
{
	return integer(decoder, field, 0, 1) == 1;
}

// The string is moved one byte down, over its own field header, which makes room for its NUL.
static char *text(struct decoder *decoder, const struct field *field, size_t max)
{
	char *string = (char *)field->value - 1;

	if (field->length > max) {
		refuse(decoder, ERROR_BAD_REQUEST, field, "is too long");
		return NULL;
	}
	if (memchr(field->value, '\0', field->length) != NULL) {
		refuse(decoder, ERROR_BAD_REQUEST, field, "has a NUL byte");
		return NULL;
	}
	memmove(string, field->value, field->length);
	string[field->length] = '\0';
	return string;
}

static char *path(struct decoder *decoder, const struct field *field)
{
	char *string = text(decoder, field, MAX_PATH);

	if (string != NULL && string[0] != '/')
		refuse(decoder, ERROR_BAD_REQUEST, field, "is not an absolute path");
	return string;
}

// One more item in an array of `count` items; NULL, and a failure, without memory.
static void *grow(struct decoder *decoder, const struct field *field, void *items, size_t count, size_t size)
{
	void *grown = reallocarray(items, count + 1, size);

	if (grown == NULL)
		refuse(decoder, ERROR_SETUP_FAILED, field, "needs more memory than there is");
	return grown;
}

static void append_text(struct decoder *decoder, const struct field *field, size_t max, struct text_list *list)
{
	char *string = text(decoder, field, max);

	if (string == NULL)
		return;
	if (list->count + 1 >= list->capacity) {
		size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
		char **items = grow(decoder, field, list->items, capacity - 1, sizeof *items);

		if (items == NULL)
			return;
		list->items = items;
		list->capacity = capacity;
	}
	list->items[list->count++] = string;
	list->items[list->count] = NULL;
}

static struct group enter(const struct field *field, const char *name, uint32_t repeated)
{
	return (struct group){ .name = name, .bytes = field->value, .length = field->length, .repeated = repeated };
}

static void decode_terminal(struct decoder *decoder, struct group group, struct process_spec *process)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case TERMINAL_COLUMNS:
			process->columns = (uint16_t)integer(decoder, &field, 0, UINT16_MAX);
			break;
		case TERMINAL_ROWS:
			process->rows = (uint16_t)integer(decoder, &field, 0, UINT16_MAX);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require(decoder, &group, TERMINAL_COLUMNS);
	require(decoder, &group, TERMINAL_ROWS);
	process->terminal = true;
}

static void decode_rlimit(struct decoder *decoder, struct group group, struct rlimit_spec *rlimit)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case RLIMIT_RESOURCE:
			rlimit->resource = (uint32_t)integer(decoder, &field, 0, RLIM_NLIMITS - 1);
			break;
		case RLIMIT_SOFT:
			rlimit->soft = integer(decoder, &field, 0, UNLIMITED);
			break;
		case RLIMIT_HARD:
			rlimit->hard = integer(decoder, &field, 0, UNLIMITED);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require(decoder, &group, RLIMIT_RESOURCE);
	require(decoder, &group, RLIMIT_SOFT);
	require(decoder, &group, RLIMIT_HARD);
}

static void decode_rlimits(struct decoder *decoder, const struct field *field, struct process_spec *process)
{
	struct rlimit_spec *rlimits = grow(decoder, field, process->rlimits, process->rlimit_count, sizeof *rlimits);

	if (rlimits == NULL)
		return;
	process->rlimits = rlimits;
	rlimits[process->rlimit_count] = (struct rlimit_spec){ 0 };
	decode_rlimit(decoder, enter(field, "rlimit", 0), &rlimits[process->rlimit_count++]);
}

static void decode_seccomp(struct decoder *decoder, const struct field *field, struct process_spec *process)
{
	if (field->length == 0 || field->length % INSTRUCTION_SIZE != 0 ||
	    field->length > MAX_INSTRUCTIONS * INSTRUCTION_SIZE)
		refuse(decoder, ERROR_BAD_REQUEST, field, "is not 1 to 4096 instructions");
	process->seccomp = field->value;
	process->seccomp_count = field->length / INSTRUCTION_SIZE;
}

static void decode_process(struct decoder *decoder, struct group group, struct process_spec *process)
{
	struct field field;

	process->cwd = "/";
	process->user = "";
	process->capabilities = default_capabilities;
	process->port = AGENT_PORT;
	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case PROCESS_ID:
			process->id = (uint32_t)integer(decoder, &field, 1, UINT32_MAX);
			break;
		case PROCESS_ARGV:
			append_text(decoder, &field, MAX_ARGUMENT, &process->argv);
			break;
		case PROCESS_ENV:
			append_text(decoder, &field, MAX_ARGUMENT, &process->env);
			break;
		case PROCESS_CWD:
			process->cwd = path(decoder, &field);
			break;
		case PROCESS_USER:
			process->user = text(decoder, &field, MAX_NAME);
			break;
		case PROCESS_GROUPS:
			append_text(decoder, &field, MAX_NAME, &process->groups);
			break;
		case PROCESS_TERMINAL:
			decode_terminal(decoder, enter(&field, "terminal", 0), process);
			break;
		case PROCESS_STDIN:
			process->open_stdin = flag(decoder, &field);
			break;
		case PROCESS_CAPABILITIES:
			process->capabilities = integer(decoder, &field, 0, UINT64_MAX);
			break;
		case PROCESS_NO_NEW_PRIVILEGES:
			process->no_new_privileges = flag(decoder, &field);
			break;
		case PROCESS_RLIMITS:
			decode_rlimits(decoder, &field, process);
			break;
		case PROCESS_SECCOMP:
			decode_seccomp(decoder, &field, process);
			break;
		case PROCESS_TOOL:
			process->tool = flag(decoder, &field);
			break;
		case PROCESS_PORT:
			process->port = (uint32_t)integer(decoder, &field, AGENT_PORT, UINT32_MAX - 1);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require(decoder, &group, PROCESS_ID);
	require(decoder, &group, PROCESS_ARGV);
}

static struct group enter_process(const struct field *field)
{
	return enter(field, "process", 1U << PROCESS_ARGV | 1U << PROCESS_ENV | 1U << PROCESS_GROUPS | 1U << PROCESS_RLIMITS);
}

static void decode_root(struct decoder *decoder, struct group group, struct root_spec *root)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case ROOT_DEVICE:
			root->device = path(decoder, &field);
			break;
		case ROOT_SCRATCH:
			root->scratch = path(decoder, &field);
			break;
		case ROOT_TMPFS_SIZE:
			root->tmpfs_size = integer(decoder, &field, 0, INT64_MAX);
			break;
		case ROOT_READONLY:
			root->readonly = flag(decoder, &field);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require(decoder, &group, ROOT_DEVICE);
}

static void decode_tmpfs(struct decoder *decoder, struct group group, struct tmpfs_spec *tmpfs)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case TMPFS_PATH:
			tmpfs->path = path(decoder, &field);
			break;
		case TMPFS_SIZE:
			tmpfs->size = integer(decoder, &field, 0, INT64_MAX);
			break;
		case TMPFS_MODE:
			tmpfs->mode = (uint32_t)integer(decoder, &field, 0, 07777);
			break;
		case TMPFS_UID:
			tmpfs->uid = (uint32_t)integer(decoder, &field, 0, UINT32_MAX);
			break;
		case TMPFS_GID:
			tmpfs->gid = (uint32_t)integer(decoder, &field, 0, UINT32_MAX);
			break;
		case TMPFS_READONLY:
			tmpfs->readonly = flag(decoder, &field);
			break;
		case TMPFS_EXEC:
			tmpfs->exec = flag(decoder, &field);
			break;
		case TMPFS_SUID:
			tmpfs->suid = flag(decoder, &field);
			break;
		case TMPFS_DEV:
			tmpfs->dev = flag(decoder, &field);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require(decoder, &group, TMPFS_PATH);
}

static void decode_tmpfs_mount(struct decoder *decoder, const struct field *field, struct start_request *start)
{
	struct tmpfs_spec *tmpfs = grow(decoder, field, start->tmpfs, start->tmpfs_count, sizeof *tmpfs);

	if (tmpfs == NULL)
		return;
	start->tmpfs = tmpfs;
	tmpfs[start->tmpfs_count] = (struct tmpfs_spec){ .mode = 01777 };
	decode_tmpfs(decoder, enter(field, "tmpfs", 0), &tmpfs[start->tmpfs_count++]);
}

static void decode_share(struct decoder *decoder, struct group group, struct share_spec *share)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case SHARE_INDEX:
			share->index = (uint32_t)integer(decoder, &field, 0, MAX_SHARE);
			break;
		case SHARE_PATH:
			share->path = path(decoder, &field);
			break;
		case SHARE_READONLY:
			share->readonly = flag(decoder, &field);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require(decoder, &group, SHARE_INDEX);
	require(decoder, &group, SHARE_PATH);
}

static void decode_share_mount(struct decoder *decoder, const struct field *field, struct start_request *start)
{
	struct share_spec *shares = grow(decoder, field, start->shares, start->share_count, sizeof *shares);

	if (shares == NULL)
		return;
	start->shares = shares;
	shares[start->share_count] = (struct share_spec){ 0 };
	decode_share(decoder, enter(field, "share", 0), &shares[start->share_count++]);
}

static void decode_network(struct decoder *decoder, struct group group, struct network_spec *network)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case NETWORK_INTERFACE:
			network->interface = text(decoder, &field, MAX_INTERFACE);
			break;
		case NETWORK_ADDRESSES:
			append_text(decoder, &field, MAX_ADDRESS, &network->addresses);
			break;
		case NETWORK_GATEWAYS:
			append_text(decoder, &field, MAX_ADDRESS, &network->gateways);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require(decoder, &group, NETWORK_INTERFACE);
}

static void decode_limits(struct decoder *decoder, struct group group, struct limits_spec *limits)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case LIMITS_MEMORY:
			limits->memory = integer(decoder, &field, 0, INT64_MAX);
			break;
		case LIMITS_PIDS:
			limits->pids = integer(decoder, &field, 0, INT64_MAX);
			break;
		case LIMITS_CPU_QUOTA:
			limits->cpu_quota = integer(decoder, &field, 0, INT64_MAX);
			break;
		case LIMITS_CPU_PERIOD:
			limits->cpu_period = integer(decoder, &field, 0, INT64_MAX);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
}

static void decode_sysctl(struct decoder *decoder, struct group group, struct sysctl_spec *sysctl)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case SYSCTL_PATH:
			sysctl->path = text(decoder, &field, MAX_NAME);
			break;
		case SYSCTL_VALUE:
			sysctl->value = text(decoder, &field, MAX_PATH);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require(decoder, &group, SYSCTL_PATH);
	require(decoder, &group, SYSCTL_VALUE);
}

static void decode_sysctls(struct decoder *decoder, const struct field *field, struct start_request *start)
{
	struct sysctl_spec *sysctls = grow(decoder, field, start->sysctls, start->sysctl_count, sizeof *sysctls);

	if (sysctls == NULL)
		return;
	start->sysctls = sysctls;
	sysctls[start->sysctl_count] = (struct sysctl_spec){ 0 };
	decode_sysctl(decoder, enter(field, "sysctl", 0), &sysctls[start->sysctl_count++]);
}

static void decode_start(struct decoder *decoder, struct group group, struct start_request *start)
{
	struct field field;

	start->shm_size = default_shm_size;
	group.repeated = 1U << START_TMPFS | 1U << START_SYSCTLS | 1U << START_SHARES;
	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case START_HOSTNAME:
			start->hostname = text(decoder, &field, MAX_HOSTNAME);
			break;
		case START_CLOCK:
			start->clock = integer(decoder, &field, 0, INT64_MAX);
			break;
		case START_ROOT:
			decode_root(decoder, enter(&field, "root", 0), &start->root);
			break;
		case START_TMPFS:
			decode_tmpfs_mount(decoder, &field, start);
			break;
		case START_NETWORK:
			decode_network(decoder,
				       enter(&field, "network", 1U << NETWORK_ADDRESSES | 1U << NETWORK_GATEWAYS),
				       &start->network);
			break;
		case START_SHARES:
			decode_share_mount(decoder, &field, start);
			break;
		case START_HOSTS:
			start->hosts = text(decoder, &field, MAX_HOST_PAYLOAD);
			break;
		case START_RESOLV_CONF:
			start->resolv_conf = text(decoder, &field, MAX_HOST_PAYLOAD);
			break;
		case START_SHM_SIZE:
			start->shm_size = integer(decoder, &field, 0, INT64_MAX);
			break;
		case START_LIMITS:
			decode_limits(decoder, enter(&field, "limits", 0), &start->limits);
			break;
		case START_PROCESS:
			decode_process(decoder, enter_process(&field), &start->process);
			break;
		case START_SYSCTLS:
			decode_sysctls(decoder, &field, start);
			break;
		case START_PRIVILEGED:
			start->privileged = flag(decoder, &field);
			break;
		case START_INIT:
			start->init = flag(decoder, &field);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require(decoder, &group, START_HOSTNAME);
	require(decoder, &group, START_ROOT);
	require(decoder, &group, START_PROCESS);
}

static void decode_exec(struct decoder *decoder, struct group group, struct process_spec *process)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		if (field.tag == EXEC_PROCESS)
			decode_process(decoder, enter_process(&field), process);
		else
			unknown_field(decoder, &field);
	}
	require(decoder, &group, EXEC_PROCESS);
}

static void decode_signal(struct decoder *decoder, struct group group, struct signal_request *signal)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case SIGNAL_PROCESS:
			signal->process = (uint32_t)integer(decoder, &field, 1, UINT32_MAX);
			break;
		case SIGNAL_NUMBER:
			signal->number = (int)integer(decoder, &field, 1, MAX_SIGNAL);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require(decoder, &group, SIGNAL_PROCESS);
	require(decoder, &group, SIGNAL_NUMBER);
}

static void decode_resize(struct decoder *decoder, struct group group, struct resize_request *resize)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case RESIZE_PROCESS:
			resize->process = (uint32_t)integer(decoder, &field, 1, UINT32_MAX);
			break;
		case RESIZE_COLUMNS:
			resize->columns = (uint16_t)integer(decoder, &field, 0, UINT16_MAX);
			break;
		case RESIZE_ROWS:
			resize->rows = (uint16_t)integer(decoder, &field, 0, UINT16_MAX);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require(decoder, &group, RESIZE_PROCESS);
	require(decoder, &group, RESIZE_COLUMNS);
	require(decoder, &group, RESIZE_ROWS);
}

static void decode_nothing(struct decoder *decoder, struct group group)
{
	struct field field;

	while (next_field(decoder, &group, &field))
		unknown_field(decoder, &field);
}

bool request_decode(struct request *request, uint16_t type, uint8_t *payload, size_t length, struct failure *failure)
{
	struct decoder decoder = { .failure = failure };
	struct group group = { .bytes = payload, .length = length };

	*request = (struct request){ .type = type };
	switch (type) {
	case FRAME_START:
		group.name = "start";
		decode_start(&decoder, group, &request->start);
		break;
	case FRAME_EXEC:
		group.name = "exec";
		decode_exec(&decoder, group, &request->exec);
		break;
	case FRAME_SIGNAL:
		group.name = "signal";
		decode_signal(&decoder, group, &request->signal);
		break;
	case FRAME_RESIZE:
		group.name = "resize";
		decode_resize(&decoder, group, &request->resize);
		break;
	case FRAME_SHUTDOWN:
		group.name = "shutdown";
		decode_nothing(&decoder, group);
		break;
	case FRAME_PING:
		group.name = "ping";
		decode_nothing(&decoder, group);
		break;
	default:
		return fail(failure, ERROR_UNSUPPORTED, 0, "unknown frame type %u", type);
	}
	return !decoder.failed;
}

static void free_process(struct process_spec *process)
{
	free(process->argv.items);
	free(process->env.items);
	free(process->groups.items);
	free(process->rlimits);
}

void request_free(struct request *request)
{
	if (request->type == FRAME_START) {
		free(request->start.tmpfs);
		free(request->start.sysctls);
		free(request->start.shares);
		free(request->start.network.addresses.items);
		free(request->start.network.gateways.items);
		free_process(&request->start.process);
	} else if (request->type == FRAME_EXEC) {
		free_process(&request->exec);
	}
}
