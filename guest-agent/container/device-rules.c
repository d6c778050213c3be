// A cgroup's device rules are an eBPF program, which the kernel runs when a device file is made or
// opened (linux/bpf.h, BPF_PROG_TYPE_CGROUP_DEVICE). Each rule is a run of instructions that ends
// with "allowed", or skips to the next rule.
#include "container/device-rules.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/linux.h"
#include "container/devices.h"

enum {
	MKNOD = BPF_DEVCG_ACC_MKNOD,
	USE = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE,
	ANY = -1,
	MAX_RULE = 8,     // instructions
	MAX_DEVICES = 64, // of a request
	MAX_CODE = MAX_RULE * (MAX_DEVICES + 16),
	// What the program's registers hold.
	RESULT = 0,
	CONTEXT = 1,
	TYPE = 2,
	ACCESS = 3,
	MAJOR = 4,
	MINOR = 5,
	OTHER = 6,
};

struct rule {
	int type; // of BPF_DEVCG_DEV
	int major;
	int minor;
	int access;
};

// The OCI runtime specification's default devices, terminals, and files of any device, which cannot
// be opened.
static const struct rule defaults[] = {
	{ BPF_DEVCG_DEV_CHAR, ANY, ANY, MKNOD },       { BPF_DEVCG_DEV_BLOCK, ANY, ANY, MKNOD },
	{ BPF_DEVCG_DEV_CHAR, 1, 3, MKNOD | USE },     { BPF_DEVCG_DEV_CHAR, 1, 5, MKNOD | USE },
	{ BPF_DEVCG_DEV_CHAR, 1, 7, MKNOD | USE },     { BPF_DEVCG_DEV_CHAR, 1, 8, MKNOD | USE },
	{ BPF_DEVCG_DEV_CHAR, 1, 9, MKNOD | USE },     { BPF_DEVCG_DEV_CHAR, 5, 0, MKNOD | USE },
	{ BPF_DEVCG_DEV_CHAR, 5, 1, MKNOD | USE },     { BPF_DEVCG_DEV_CHAR, 5, 2, MKNOD | USE },
	{ BPF_DEVCG_DEV_CHAR, 136, ANY, MKNOD | USE },
};

struct rules {
	struct bpf_instruction code[MAX_CODE];
	size_t length;
};

static void add(struct rules *rules, struct bpf_instruction instruction)
{
	rules->code[rules->length++] = instruction;
}

// Skips `count` instructions unless the register holds the value.
static struct bpf_instruction skip_unless(unsigned reg, int value, size_t count)
{
	return (struct bpf_instruction){
		.code = BPF_JUMP_NOT_EQUAL, .destination = reg & 0xf, .offset = (int16_t)count, .value = value
	};
}

static void return_value(struct rules *rules, int value)
{
	add(rules, (struct bpf_instruction){ .code = BPF_MOVE_VALUE, .destination = RESULT, .value = value });
	add(rules, (struct bpf_instruction){ .code = BPF_RETURN });
}

// The context has two halves in its first word: the access asked for, and the type of the device.
static void load_context(struct rules *rules)
{
	const struct bpf_instruction code[] = {
		{ .code = BPF_LOAD_WORD, .destination = TYPE, .source = CONTEXT, .offset = 0 },
		{ .code = BPF_MOVE, .destination = ACCESS, .source = TYPE },
		{ .code = BPF_AND_VALUE, .destination = TYPE, .value = 0xffff },
		{ .code = BPF_SHIFT_RIGHT, .destination = ACCESS, .value = 16 },
		{ .code = BPF_LOAD_WORD, .destination = MAJOR, .source = CONTEXT, .offset = 4 },
		{ .code = BPF_LOAD_WORD, .destination = MINOR, .source = CONTEXT, .offset = 8 },
	};

	for (size_t i = 0; i < sizeof code / sizeof *code; i++)
		add(rules, code[i]);
}

static void add_rule(struct rules *rules, const struct rule *rule)
{
	const size_t rest = 5; // instructions after the comparisons
	const size_t minors = rule->minor != ANY;
	const size_t majors = rule->major != ANY;

	add(rules, skip_unless(TYPE, rule->type, majors + minors + rest));
	if (rule->major != ANY)
		add(rules, skip_unless(MAJOR, rule->major, minors + rest));
	if (rule->minor != ANY)
		add(rules, skip_unless(MINOR, rule->minor, rest));
	add(rules, (struct bpf_instruction){ .code = BPF_MOVE, .destination = OTHER, .source = ACCESS });
	add(rules, (struct bpf_instruction){ .code = BPF_AND_VALUE, .destination = OTHER, .value = ~rule->access });
	add(rules, skip_unless(OTHER, 0, 2));
	return_value(rules, 1);
}

static bool add_devices(struct rules *rules, const struct device_list *devices, struct failure *failure)
{
	for (size_t i = 0; i < devices->count; i++) {
		const struct device_spec *device = &devices->items[i];
		struct stat status;

		if (!devices_find(device->path, &status, failure))
			return false;
		add_rule(rules,
			 &(struct rule){ .type = S_ISBLK(status.st_mode) ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR,
					 .major = (int)major(status.st_rdev),
					 .minor = (int)minor(status.st_rdev),
					 .access = (int)device->access });
	}
	return true;
}

static bool attach(int cgroup, const struct rules *rules, struct failure *failure)
{
	const struct bpf_load load = { .type = BPF_PROG_TYPE_CGROUP_DEVICE,
				       .length = (uint32_t)rules->length,
				       .code = (uintptr_t)rules->code,
				       .license = (uintptr_t) "" };
	int loaded = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
	// Several programs may be attached, so an engine inside can restrict its own containers
	// further.
	const struct bpf_attach request = { .target = (uint32_t)cgroup,
					    .program = (uint32_t)loaded,
					    .type = BPF_CGROUP_DEVICE,
					    .flags = BPF_F_ALLOW_MULTI };
	bool attached = loaded >= 0 && syscall(SYS_bpf, BPF_PROG_ATTACH, &request, sizeof request) == 0;

	if (!attached)
		fail(failure, ERROR_SETUP_FAILED, errno, "device rules (the kernel needs CONFIG_CGROUP_BPF)");
	if (loaded >= 0)
		close(loaded);
	return attached;
}

bool device_rules_set(int cgroup, const struct container_request *container, struct failure *failure)
{
	struct rules rules = { .length = 0 };
	int directory;
	bool set;

	if (container->privileged)
		return true;
	if (container->devices.count > MAX_DEVICES)
		return fail(failure, ERROR_BAD_REQUEST, 0, "more than %d devices", MAX_DEVICES);
	load_context(&rules);
	for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
		add_rule(&rules, &defaults[i]);
	if (!add_devices(&rules, &container->devices, failure))
		return false;
	return_value(&rules, 0);
	directory = openat(cgroup, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "open the cgroup");
	set = attach(directory, &rules, failure);
	close(directory);
	return set;
}
