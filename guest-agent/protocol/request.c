// Decoding requests.
#include "protocol/request.h"

#include <stdlib.h>

#include "protocol/request-groups.h"

static const uint64_t default_shm_size = 64 * 1024 * 1024;

enum {
	MAX_HOSTNAME = 64, // __NEW_UTS_LEN
	MAX_SIGNAL = 64,
};
static void decode_start(struct decoder *decoder, struct group group, struct start_request *start)
{
	struct field field;

	start->shm_size = default_shm_size;
	group.repeated = 1U << START_TMPFS | 1U << START_SYSCTLS | 1U << START_SHARES;
	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case START_HOSTNAME:
			start->hostname = field_text(decoder, &field, MAX_HOSTNAME);
			break;
		case START_CLOCK:
			start->clock = field_integer(decoder, &field, 0, INT64_MAX);
			break;
		case START_ROOT:
			decode_root(decoder, enter_group(&field, "root", 0), &start->root);
			break;
		case START_TMPFS:
			decode_tmpfs_mount(decoder, &field, start);
			break;
		case START_NETWORK:
			decode_network(decoder,
				       enter_group(&field, "network", 1U << NETWORK_ADDRESSES | 1U << NETWORK_GATEWAYS),
				       &start->network);
			break;
		case START_SHARES:
			decode_share_mount(decoder, &field, start);
			break;
		case START_HOSTS:
			start->hosts = field_text(decoder, &field, MAX_HOST_PAYLOAD);
			break;
		case START_RESOLV_CONF:
			start->resolv_conf = field_text(decoder, &field, MAX_HOST_PAYLOAD);
			break;
		case START_SHM_SIZE:
			start->shm_size = field_integer(decoder, &field, 0, INT64_MAX);
			break;
		case START_LIMITS:
			decode_limits(decoder, enter_group(&field, "limits", 0), &start->limits);
			break;
		case START_PROCESS:
			decode_process(decoder, enter_process(&field), &start->process);
			break;
		case START_SYSCTLS:
			decode_sysctls(decoder, &field, start);
			break;
		case START_PRIVILEGED:
			start->privileged = field_flag(decoder, &field);
			break;
		case START_INIT:
			start->init = field_flag(decoder, &field);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require_field(decoder, &group, START_HOSTNAME);
	require_field(decoder, &group, START_ROOT);
	require_field(decoder, &group, START_PROCESS);
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
	require_field(decoder, &group, EXEC_PROCESS);
}

static void decode_signal(struct decoder *decoder, struct group group, struct signal_request *signal)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case SIGNAL_PROCESS:
			signal->process = (uint32_t)field_integer(decoder, &field, 1, UINT32_MAX);
			break;
		case SIGNAL_NUMBER:
			signal->number = (int)field_integer(decoder, &field, 1, MAX_SIGNAL);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require_field(decoder, &group, SIGNAL_PROCESS);
	require_field(decoder, &group, SIGNAL_NUMBER);
}

static void decode_resize(struct decoder *decoder, struct group group, struct resize_request *resize)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case RESIZE_PROCESS:
			resize->process = (uint32_t)field_integer(decoder, &field, 1, UINT32_MAX);
			break;
		case RESIZE_COLUMNS:
			resize->columns = (uint16_t)field_integer(decoder, &field, 0, UINT16_MAX);
			break;
		case RESIZE_ROWS:
			resize->rows = (uint16_t)field_integer(decoder, &field, 0, UINT16_MAX);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require_field(decoder, &group, RESIZE_PROCESS);
	require_field(decoder, &group, RESIZE_COLUMNS);
	require_field(decoder, &group, RESIZE_ROWS);
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
