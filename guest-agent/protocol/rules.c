// What the decoder of request.c goes by: the fields of each group and of each request.
// Generated from table.mjs by `npm run generate`: do not edit.
#include "protocol/rules.h"

// clang-format off
static const struct field_rule terminal_fields[] = {
	{ .tag = 1, .name = "columns", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct terminal_spec, columns), .size = sizeof(uint16_t), .max = 65535 },
	{ .tag = 2, .name = "rows", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct terminal_spec, rows), .size = sizeof(uint16_t), .max = 65535 },
};
static const struct group_rule terminal_rule = {
	.name = "terminal", .size = sizeof(struct terminal_spec), .fields = terminal_fields, .count = 2,
};

static const struct field_rule rlimit_fields[] = {
	{ .tag = 1, .name = "name", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct rlimit_spec, resource), .size = sizeof(uint16_t), .max = 15 },
	{ .tag = 2, .name = "soft", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct rlimit_spec, soft), .size = sizeof(uint64_t), .max = UINT64_MAX },
	{ .tag = 3, .name = "hard", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct rlimit_spec, hard), .size = sizeof(uint64_t), .max = UINT64_MAX },
};
static const struct group_rule rlimit_rule = {
	.name = "rlimit", .size = sizeof(struct rlimit_spec), .fields = rlimit_fields, .count = 3,
};

static const struct field_rule root_fields[] = {
	{ .tag = 1, .name = "device", .kind = FIELD_PATH, .offset = offsetof(struct root_spec, device), .max = 4095 },
	{ .tag = 2, .name = "scratch", .kind = FIELD_PATH, .offset = offsetof(struct root_spec, scratch), .max = 4095 },
	{ .tag = 3, .name = "tmpfsSize", .kind = FIELD_INTEGER, .offset = offsetof(struct root_spec, tmpfs_size), .size = sizeof(uint64_t), .max = 9007199254740991 },
	{ .tag = 4, .name = "readonly", .kind = FIELD_FLAG, .offset = offsetof(struct root_spec, readonly) },
	{ .tag = 5, .name = "share", .kind = FIELD_INTEGER, .offset = offsetof(struct root_spec, share), .size = sizeof(uint32_t), .max = 99999, .preset = 0xffffffff },
};
static const struct group_rule root_rule = {
	.name = "root", .size = sizeof(struct root_spec), .fields = root_fields, .count = 5,
};

static const struct field_rule tmpfs_fields[] = {
	{ .tag = 1, .name = "path", .kind = FIELD_PATH, .required = true, .offset = offsetof(struct tmpfs_spec, path), .max = 4095 },
	{ .tag = 2, .name = "size", .kind = FIELD_INTEGER, .offset = offsetof(struct tmpfs_spec, size), .size = sizeof(uint64_t), .max = 9007199254740991 },
	{ .tag = 3, .name = "mode", .kind = FIELD_INTEGER, .offset = offsetof(struct tmpfs_spec, mode), .size = sizeof(uint16_t), .max = 4095, .preset = 0xffff },
	{ .tag = 4, .name = "uid", .kind = FIELD_INTEGER, .offset = offsetof(struct tmpfs_spec, uid), .size = sizeof(uint32_t), .max = 4294967295 },
	{ .tag = 5, .name = "gid", .kind = FIELD_INTEGER, .offset = offsetof(struct tmpfs_spec, gid), .size = sizeof(uint32_t), .max = 4294967295 },
	{ .tag = 6, .name = "readonly", .kind = FIELD_FLAG, .offset = offsetof(struct tmpfs_spec, readonly) },
	{ .tag = 7, .name = "exec", .kind = FIELD_FLAG, .offset = offsetof(struct tmpfs_spec, exec) },
	{ .tag = 8, .name = "suid", .kind = FIELD_FLAG, .offset = offsetof(struct tmpfs_spec, suid) },
	{ .tag = 9, .name = "dev", .kind = FIELD_FLAG, .offset = offsetof(struct tmpfs_spec, dev) },
	{ .tag = 10, .name = "copyUp", .kind = FIELD_FLAG, .offset = offsetof(struct tmpfs_spec, copy_up) },
};
static const struct group_rule tmpfs_rule = {
	.name = "tmpfs", .size = sizeof(struct tmpfs_spec), .fields = tmpfs_fields, .count = 10,
};

static const struct field_rule share_fields[] = {
	{ .tag = 1, .name = "index", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct share_spec, index), .size = sizeof(uint32_t), .max = 99999 },
	{ .tag = 2, .name = "path", .kind = FIELD_PATH, .required = true, .offset = offsetof(struct share_spec, path), .max = 4095 },
	{ .tag = 3, .name = "readonly", .kind = FIELD_FLAG, .offset = offsetof(struct share_spec, readonly) },
	{ .tag = 4, .name = "noexec", .kind = FIELD_FLAG, .offset = offsetof(struct share_spec, noexec) },
	{ .tag = 5, .name = "nosuid", .kind = FIELD_FLAG, .offset = offsetof(struct share_spec, nosuid) },
};
static const struct group_rule share_rule = {
	.name = "share", .size = sizeof(struct share_spec), .fields = share_fields, .count = 5,
};

static const struct field_rule device_fields[] = {
	{ .tag = 1, .name = "path", .kind = FIELD_PATH, .required = true, .offset = offsetof(struct device_spec, path), .max = 4095 },
	{ .tag = 2, .name = "target", .kind = FIELD_PATH, .required = true, .offset = offsetof(struct device_spec, target), .max = 4095 },
	{ .tag = 3, .name = "access", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct device_spec, access), .size = sizeof(uint64_t), .max = UINT64_MAX },
};
static const struct group_rule device_rule = {
	.name = "device", .size = sizeof(struct device_spec), .fields = device_fields, .count = 3,
};

static const struct field_rule network_fields[] = {
	{ .tag = 1, .name = "interface", .kind = FIELD_TEXT, .required = true, .offset = offsetof(struct network_spec, interface), .max = 15 },
	{ .tag = 2, .name = "addresses", .kind = FIELD_TEXT, .repeated = true, .offset = offsetof(struct network_spec, addresses), .max = 49 },
	{ .tag = 3, .name = "gateways", .kind = FIELD_TEXT, .repeated = true, .offset = offsetof(struct network_spec, gateways), .max = 49 },
	{ .tag = 4, .name = "mac", .kind = FIELD_TEXT, .offset = offsetof(struct network_spec, mac), .max = 17 },
	{ .tag = 5, .name = "routes", .kind = FIELD_TEXT, .repeated = true, .offset = offsetof(struct network_spec, routes), .max = 1024 },
};
static const struct group_rule network_rule = {
	.name = "network", .size = sizeof(struct network_spec), .fields = network_fields, .count = 5,
};

static const struct field_rule limits_fields[] = {
	{ .tag = 1, .name = "memory", .kind = FIELD_INTEGER, .offset = offsetof(struct limits_spec, memory), .size = sizeof(uint64_t), .max = 9007199254740991 },
	{ .tag = 2, .name = "pids", .kind = FIELD_INTEGER, .offset = offsetof(struct limits_spec, pids), .size = sizeof(uint64_t), .max = 9007199254740991 },
	{ .tag = 3, .name = "cpuQuota", .kind = FIELD_INTEGER, .offset = offsetof(struct limits_spec, cpu_quota), .size = sizeof(uint64_t), .max = 9007199254740991 },
	{ .tag = 4, .name = "cpuPeriod", .kind = FIELD_INTEGER, .offset = offsetof(struct limits_spec, cpu_period), .size = sizeof(uint64_t), .max = 9007199254740991 },
};
static const struct group_rule limits_rule = {
	.name = "limits", .size = sizeof(struct limits_spec), .fields = limits_fields, .count = 4,
};

static const struct field_rule capabilitySets_fields[] = {
	{ .tag = 1, .name = "permitted", .kind = FIELD_INTEGER, .offset = offsetof(struct capabilitySets_spec, permitted), .size = sizeof(uint64_t), .max = UINT64_MAX },
	{ .tag = 2, .name = "effective", .kind = FIELD_INTEGER, .offset = offsetof(struct capabilitySets_spec, effective), .size = sizeof(uint64_t), .max = UINT64_MAX },
	{ .tag = 3, .name = "inheritable", .kind = FIELD_INTEGER, .offset = offsetof(struct capabilitySets_spec, inheritable), .size = sizeof(uint64_t), .max = UINT64_MAX },
	{ .tag = 4, .name = "ambient", .kind = FIELD_INTEGER, .offset = offsetof(struct capabilitySets_spec, ambient), .size = sizeof(uint64_t), .max = UINT64_MAX },
};
static const struct group_rule capabilitySets_rule = {
	.name = "capabilitySets", .size = sizeof(struct capabilitySets_spec), .fields = capabilitySets_fields, .count = 4,
};

static const struct field_rule sysctl_fields[] = {
	{ .tag = 1, .name = "path", .kind = FIELD_TEXT, .required = true, .offset = offsetof(struct sysctl_spec, path), .max = 255 },
	{ .tag = 2, .name = "value", .kind = FIELD_TEXT, .required = true, .offset = offsetof(struct sysctl_spec, value), .max = 4095 },
};
static const struct group_rule sysctl_rule = {
	.name = "sysctl", .size = sizeof(struct sysctl_spec), .fields = sysctl_fields, .count = 2,
};

static const struct field_rule secret_fields[] = {
	{ .tag = 1, .name = "name", .kind = FIELD_TEXT, .required = true, .offset = offsetof(struct secret_spec, name), .max = 255 },
	{ .tag = 2, .name = "contents", .kind = FIELD_TEXT, .required = true, .offset = offsetof(struct secret_spec, contents), .max = 1048576 },
};
static const struct group_rule secret_rule = {
	.name = "secret", .size = sizeof(struct secret_spec), .fields = secret_fields, .count = 2,
};

static const struct field_rule hook_fields[] = {
	{ .tag = 1, .name = "path", .kind = FIELD_PATH, .required = true, .offset = offsetof(struct hook_spec, path), .max = 4095 },
	{ .tag = 2, .name = "argv", .kind = FIELD_TEXT, .repeated = true, .offset = offsetof(struct hook_spec, argv), .max = 131071 },
	{ .tag = 3, .name = "env", .kind = FIELD_TEXT, .repeated = true, .offset = offsetof(struct hook_spec, env), .max = 131071 },
	{ .tag = 4, .name = "timeout", .kind = FIELD_INTEGER, .offset = offsetof(struct hook_spec, timeout), .size = sizeof(uint32_t), .max = 2147483647 },
};
static const struct group_rule hook_rule = {
	.name = "hook", .size = sizeof(struct hook_spec), .fields = hook_fields, .count = 4,
};

static const struct field_rule identity_fields[] = {
	{ .tag = 1, .name = "container", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct identity_spec, container), .size = sizeof(uint32_t), .min = 1, .max = 4294967295 },
	{ .tag = 2, .name = "hostname", .kind = FIELD_TEXT, .required = true, .offset = offsetof(struct identity_spec, hostname), .max = 64 },
	{ .tag = 3, .name = "machineId", .kind = FIELD_TEXT, .required = true, .offset = offsetof(struct identity_spec, machine_id), .max = 32 },
	{ .tag = 4, .name = "hosts", .kind = FIELD_TEXT, .offset = offsetof(struct identity_spec, hosts), .max = 4194304 },
	{ .tag = 5, .name = "resolvConf", .kind = FIELD_TEXT, .offset = offsetof(struct identity_spec, resolv_conf), .max = 4194304 },
};
static const struct group_rule identity_rule = {
	.name = "identity", .size = sizeof(struct identity_spec), .fields = identity_fields, .count = 5,
};

static const struct field_rule machine_request_fields[] = {
	{ .tag = 1, .name = "clock", .kind = FIELD_INTEGER, .offset = offsetof(struct machine_request, clock), .size = sizeof(uint64_t), .max = 9007199254740991 },
	{ .tag = 2, .name = "network", .kind = FIELD_GROUP, .offset = offsetof(struct machine_request, network), .given = offsetof(struct machine_request, has_network), .group = &network_rule },
	{ .tag = 3, .name = "shares", .kind = FIELD_FLAG, .offset = offsetof(struct machine_request, shares) },
	{ .tag = 4, .name = "moreNetworks", .kind = FIELD_GROUP, .repeated = true, .offset = offsetof(struct machine_request, more_networks), .group = &network_rule },
};
static const struct group_rule machine_request_rule = {
	.name = "machine", .size = sizeof(struct machine_request), .fields = machine_request_fields, .count = 4,
};

static const struct field_rule container_request_fields[] = {
	{ .tag = 1, .name = "id", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct container_request, id), .size = sizeof(uint32_t), .min = 1, .max = 4294967295 },
	{ .tag = 2, .name = "hostname", .kind = FIELD_TEXT, .required = true, .offset = offsetof(struct container_request, hostname), .max = 64 },
	{ .tag = 3, .name = "root", .kind = FIELD_GROUP, .required = true, .offset = offsetof(struct container_request, root), .group = &root_rule },
	{ .tag = 4, .name = "tmpfs", .kind = FIELD_GROUP, .repeated = true, .offset = offsetof(struct container_request, tmpfs), .group = &tmpfs_rule },
	{ .tag = 5, .name = "shares", .kind = FIELD_GROUP, .repeated = true, .offset = offsetof(struct container_request, shares), .group = &share_rule },
	{ .tag = 6, .name = "hosts", .kind = FIELD_TEXT, .offset = offsetof(struct container_request, hosts), .max = 4194304 },
	{ .tag = 7, .name = "resolvConf", .kind = FIELD_TEXT, .offset = offsetof(struct container_request, resolv_conf), .max = 4194304 },
	{ .tag = 8, .name = "shmSize", .kind = FIELD_INTEGER, .offset = offsetof(struct container_request, shm_size), .size = sizeof(uint64_t), .max = 9007199254740991, .preset = 0x4000000 },
	{ .tag = 9, .name = "limits", .kind = FIELD_GROUP, .offset = offsetof(struct container_request, limits), .given = offsetof(struct container_request, has_limits), .group = &limits_rule },
	{ .tag = 10, .name = "sysctls", .kind = FIELD_GROUP, .repeated = true, .offset = offsetof(struct container_request, sysctls), .group = &sysctl_rule },
	{ .tag = 11, .name = "privileged", .kind = FIELD_FLAG, .offset = offsetof(struct container_request, privileged) },
	{ .tag = 12, .name = "init", .kind = FIELD_FLAG, .offset = offsetof(struct container_request, init) },
	{ .tag = 13, .name = "devices", .kind = FIELD_GROUP, .repeated = true, .offset = offsetof(struct container_request, devices), .group = &device_rule },
	{ .tag = 14, .name = "secrets", .kind = FIELD_GROUP, .repeated = true, .offset = offsetof(struct container_request, secrets), .group = &secret_rule },
	{ .tag = 15, .name = "joined", .kind = FIELD_INTEGER, .offset = offsetof(struct container_request, joined), .size = sizeof(uint64_t), .max = UINT64_MAX },
	{ .tag = 16, .name = "processesOf", .kind = FIELD_INTEGER, .offset = offsetof(struct container_request, processes_of), .size = sizeof(uint32_t), .min = 1, .max = 4294967295 },
};
static const struct group_rule container_request_rule = {
	.name = "container", .size = sizeof(struct container_request), .fields = container_request_fields, .count = 16,
};

static const struct field_rule process_request_fields[] = {
	{ .tag = 1, .name = "container", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct process_request, container), .size = sizeof(uint32_t), .min = 1, .max = 4294967295 },
	{ .tag = 2, .name = "id", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct process_request, id), .size = sizeof(uint32_t), .min = 1, .max = 4294967295 },
	{ .tag = 3, .name = "argv", .kind = FIELD_TEXT, .required = true, .repeated = true, .offset = offsetof(struct process_request, argv), .max = 131071 },
	{ .tag = 4, .name = "env", .kind = FIELD_TEXT, .repeated = true, .offset = offsetof(struct process_request, env), .max = 131071 },
	{ .tag = 5, .name = "cwd", .kind = FIELD_PATH, .offset = offsetof(struct process_request, cwd), .max = 4095, .preset_text = "/" },
	{ .tag = 6, .name = "user", .kind = FIELD_TEXT, .offset = offsetof(struct process_request, user), .max = 255, .preset_text = "" },
	{ .tag = 7, .name = "groups", .kind = FIELD_TEXT, .repeated = true, .offset = offsetof(struct process_request, groups), .max = 255 },
	{ .tag = 8, .name = "terminal", .kind = FIELD_GROUP, .offset = offsetof(struct process_request, terminal), .given = offsetof(struct process_request, has_terminal), .group = &terminal_rule },
	{ .tag = 9, .name = "stdin", .kind = FIELD_FLAG, .offset = offsetof(struct process_request, open_stdin) },
	{ .tag = 10, .name = "capabilities", .kind = FIELD_INTEGER, .offset = offsetof(struct process_request, capabilities), .size = sizeof(uint64_t), .max = UINT64_MAX, .preset = 0xa80425fb },
	{ .tag = 11, .name = "noNewPrivileges", .kind = FIELD_FLAG, .offset = offsetof(struct process_request, no_new_privileges) },
	{ .tag = 12, .name = "rlimits", .kind = FIELD_GROUP, .repeated = true, .offset = offsetof(struct process_request, rlimits), .group = &rlimit_rule },
	{ .tag = 13, .name = "seccomp", .kind = FIELD_PROGRAM, .offset = offsetof(struct process_request, seccomp) },
	{ .tag = 14, .name = "port", .kind = FIELD_INTEGER, .offset = offsetof(struct process_request, port), .size = sizeof(uint32_t), .min = 1024, .max = 4294967294, .preset = 0x400 },
	{ .tag = 15, .name = "tool", .kind = FIELD_FLAG, .offset = offsetof(struct process_request, tool) },
	{ .tag = 16, .name = "exact", .kind = FIELD_FLAG, .offset = offsetof(struct process_request, exact) },
	{ .tag = 17, .name = "capabilitySets", .kind = FIELD_GROUP, .offset = offsetof(struct process_request, capability_sets), .given = offsetof(struct process_request, has_capability_sets), .group = &capabilitySets_rule },
	{ .tag = 18, .name = "umask", .kind = FIELD_INTEGER, .offset = offsetof(struct process_request, umask), .size = sizeof(uint16_t), .max = 511, .preset = 0x12 },
	{ .tag = 19, .name = "hooks", .kind = FIELD_GROUP, .repeated = true, .offset = offsetof(struct process_request, hooks), .group = &hook_rule },
	{ .tag = 20, .name = "hookState", .kind = FIELD_TEXT, .offset = offsetof(struct process_request, hook_state), .max = 1048576, .preset_text = "" },
};
static const struct group_rule process_request_rule = {
	.name = "process", .size = sizeof(struct process_request), .fields = process_request_fields, .count = 20,
};

static const struct field_rule signal_request_fields[] = {
	{ .tag = 1, .name = "process", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct signal_request, process), .size = sizeof(uint32_t), .min = 1, .max = 4294967295 },
	{ .tag = 2, .name = "signal", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct signal_request, signal), .size = sizeof(uint16_t), .min = 1, .max = 64 },
	{ .tag = 3, .name = "group", .kind = FIELD_FLAG, .offset = offsetof(struct signal_request, group) },
};
static const struct group_rule signal_request_rule = {
	.name = "signal", .size = sizeof(struct signal_request), .fields = signal_request_fields, .count = 3,
};

static const struct field_rule resize_request_fields[] = {
	{ .tag = 1, .name = "process", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct resize_request, process), .size = sizeof(uint32_t), .min = 1, .max = 4294967295 },
	{ .tag = 2, .name = "columns", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct resize_request, columns), .size = sizeof(uint16_t), .max = 65535 },
	{ .tag = 3, .name = "rows", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct resize_request, rows), .size = sizeof(uint16_t), .max = 65535 },
};
static const struct group_rule resize_request_rule = {
	.name = "resize", .size = sizeof(struct resize_request), .fields = resize_request_fields, .count = 3,
};

static const struct field_rule remove_request_fields[] = {
	{ .tag = 1, .name = "container", .kind = FIELD_INTEGER, .required = true, .offset = offsetof(struct remove_request, container), .size = sizeof(uint32_t), .min = 1, .max = 4294967295 },
};
static const struct group_rule remove_request_rule = {
	.name = "remove", .size = sizeof(struct remove_request), .fields = remove_request_fields, .count = 1,
};

static const struct group_rule shutdown_request_rule = { .name = "shutdown" };

static const struct group_rule ping_request_rule = { .name = "ping" };

static const struct field_rule freeze_request_fields[] = {
	{ .tag = 1, .name = "timeout", .kind = FIELD_INTEGER, .offset = offsetof(struct freeze_request, timeout), .size = sizeof(uint16_t), .max = 60000, .preset = 0x1388 },
};
static const struct group_rule freeze_request_rule = {
	.name = "freeze", .size = sizeof(struct freeze_request), .fields = freeze_request_fields, .count = 1,
};

static const struct field_rule thaw_request_fields[] = {
	{ .tag = 1, .name = "entropy", .kind = FIELD_TEXT, .offset = offsetof(struct thaw_request, entropy), .max = 1024, .preset_text = "" },
	{ .tag = 2, .name = "clock", .kind = FIELD_INTEGER, .offset = offsetof(struct thaw_request, clock), .size = sizeof(uint64_t), .max = 9007199254740991 },
	{ .tag = 3, .name = "generation", .kind = FIELD_TEXT, .offset = offsetof(struct thaw_request, generation), .max = 36 },
	{ .tag = 4, .name = "bootId", .kind = FIELD_TEXT, .offset = offsetof(struct thaw_request, boot_id), .max = 36 },
	{ .tag = 5, .name = "network", .kind = FIELD_GROUP, .offset = offsetof(struct thaw_request, network), .given = offsetof(struct thaw_request, has_network), .group = &network_rule },
	{ .tag = 6, .name = "identities", .kind = FIELD_GROUP, .repeated = true, .offset = offsetof(struct thaw_request, identities), .group = &identity_rule },
};
static const struct group_rule thaw_request_rule = {
	.name = "thaw", .size = sizeof(struct thaw_request), .fields = thaw_request_fields, .count = 6,
};

const struct request_rule request_rules[] = {
	{ .type = FRAME_MACHINE, .group = &machine_request_rule, .offset = offsetof(struct request, machine) },
	{ .type = FRAME_CONTAINER, .group = &container_request_rule, .offset = offsetof(struct request, container) },
	{ .type = FRAME_PROCESS, .group = &process_request_rule, .offset = offsetof(struct request, process) },
	{ .type = FRAME_SIGNAL, .group = &signal_request_rule, .offset = offsetof(struct request, signal) },
	{ .type = FRAME_RESIZE, .group = &resize_request_rule, .offset = offsetof(struct request, resize) },
	{ .type = FRAME_REMOVE, .group = &remove_request_rule, .offset = offsetof(struct request, remove) },
	{ .type = FRAME_SHUTDOWN, .group = &shutdown_request_rule },
	{ .type = FRAME_PING, .group = &ping_request_rule },
	{ .type = FRAME_FREEZE, .group = &freeze_request_rule, .offset = offsetof(struct request, freeze) },
	{ .type = FRAME_THAW, .group = &thaw_request_rule, .offset = offsetof(struct request, thaw) },
};
// clang-format on

const size_t request_rule_count = sizeof request_rules / sizeof *request_rules;
