// What a request says of a container: its root, what is mounted there, its network, its limits.
#include "protocol/request-groups.h"

enum {
	MAX_NAME = 255,
	MAX_SHARE = 99999,
	MAX_INTERFACE = 15, // IFNAMSIZ, less the NUL
	MAX_ADDRESS = 49,   // an IPv6 address with a prefix length
};
void decode_root(struct decoder *decoder, struct group group, struct root_spec *root)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case ROOT_DEVICE:
			root->device = field_path(decoder, &field);
			break;
		case ROOT_SCRATCH:
			root->scratch = field_path(decoder, &field);
			break;
		case ROOT_TMPFS_SIZE:
			root->tmpfs_size = field_integer(decoder, &field, 0, INT64_MAX);
			break;
		case ROOT_READONLY:
			root->readonly = field_flag(decoder, &field);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require_field(decoder, &group, ROOT_DEVICE);
}

static void decode_tmpfs(struct decoder *decoder, struct group group, struct tmpfs_spec *tmpfs)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case TMPFS_PATH:
			tmpfs->path = field_path(decoder, &field);
			break;
		case TMPFS_SIZE:
			tmpfs->size = field_integer(decoder, &field, 0, INT64_MAX);
			break;
		case TMPFS_MODE:
			tmpfs->mode = (uint32_t)field_integer(decoder, &field, 0, 07777);
			break;
		case TMPFS_UID:
			tmpfs->uid = (uint32_t)field_integer(decoder, &field, 0, UINT32_MAX);
			break;
		case TMPFS_GID:
			tmpfs->gid = (uint32_t)field_integer(decoder, &field, 0, UINT32_MAX);
			break;
		case TMPFS_READONLY:
			tmpfs->readonly = field_flag(decoder, &field);
			break;
		case TMPFS_EXEC:
			tmpfs->exec = field_flag(decoder, &field);
			break;
		case TMPFS_SUID:
			tmpfs->suid = field_flag(decoder, &field);
			break;
		case TMPFS_DEV:
			tmpfs->dev = field_flag(decoder, &field);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require_field(decoder, &group, TMPFS_PATH);
}

void decode_tmpfs_mount(struct decoder *decoder, const struct field *field, struct start_request *start)
{
	struct tmpfs_spec *tmpfs = field_grow(decoder, field, start->tmpfs, start->tmpfs_count, sizeof *tmpfs);

	if (tmpfs == NULL)
		return;
	start->tmpfs = tmpfs;
	tmpfs[start->tmpfs_count] = (struct tmpfs_spec){ .mode = 01777 };
	decode_tmpfs(decoder, enter_group(field, "tmpfs", 0), &tmpfs[start->tmpfs_count++]);
}

static void decode_share(struct decoder *decoder, struct group group, struct share_spec *share)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case SHARE_INDEX:
			share->index = (uint32_t)field_integer(decoder, &field, 0, MAX_SHARE);
			break;
		case SHARE_PATH:
			share->path = field_path(decoder, &field);
			break;
		case SHARE_READONLY:
			share->readonly = field_flag(decoder, &field);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require_field(decoder, &group, SHARE_INDEX);
	require_field(decoder, &group, SHARE_PATH);
}

void decode_share_mount(struct decoder *decoder, const struct field *field, struct start_request *start)
{
	struct share_spec *shares = field_grow(decoder, field, start->shares, start->share_count, sizeof *shares);

	if (shares == NULL)
		return;
	start->shares = shares;
	shares[start->share_count] = (struct share_spec){ 0 };
	decode_share(decoder, enter_group(field, "share", 0), &shares[start->share_count++]);
}

void decode_network(struct decoder *decoder, struct group group, struct network_spec *network)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case NETWORK_INTERFACE:
			network->interface = field_text(decoder, &field, MAX_INTERFACE);
			break;
		case NETWORK_ADDRESSES:
			field_append(decoder, &field, MAX_ADDRESS, &network->addresses);
			break;
		case NETWORK_GATEWAYS:
			field_append(decoder, &field, MAX_ADDRESS, &network->gateways);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require_field(decoder, &group, NETWORK_INTERFACE);
}

void decode_limits(struct decoder *decoder, struct group group, struct limits_spec *limits)
{
	struct field field;

	while (next_field(decoder, &group, &field)) {
		switch (field.tag) {
		case LIMITS_MEMORY:
			limits->memory = field_integer(decoder, &field, 0, INT64_MAX);
			break;
		case LIMITS_PIDS:
			limits->pids = field_integer(decoder, &field, 0, INT64_MAX);
			break;
		case LIMITS_CPU_QUOTA:
			limits->cpu_quota = field_integer(decoder, &field, 0, INT64_MAX);
			break;
		case LIMITS_CPU_PERIOD:
			limits->cpu_period = field_integer(decoder, &field, 0, INT64_MAX);
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
			sysctl->path = field_text(decoder, &field, MAX_NAME);
			break;
		case SYSCTL_VALUE:
			sysctl->value = field_text(decoder, &field, MAX_PATH);
			break;
		default:
			unknown_field(decoder, &field);
		}
	}
	require_field(decoder, &group, SYSCTL_PATH);
	require_field(decoder, &group, SYSCTL_VALUE);
}

void decode_sysctls(struct decoder *decoder, const struct field *field, struct start_request *start)
{
	struct sysctl_spec *sysctls = field_grow(decoder, field, start->sysctls, start->sysctl_count, sizeof *sysctls);

	if (sysctls == NULL)
		return;
	start->sysctls = sysctls;
	sysctls[start->sysctl_count] = (struct sysctl_spec){ 0 };
	decode_sysctl(decoder, enter_group(field, "sysctl", 0), &sysctls[start->sysctl_count++]);
}
