// Dropping privileges in the order that capabilities(7) requires: the bounding set while
// CAP_SETPCAP is there, then the identity, then the other sets.
#include "process/privileges.h"

#include <errno.h>
#include <grp.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/linux.h"

bool privileges_set_rlimits(const struct process_request *process, struct failure *failure)
{
	for (size_t i = 0; i < process->rlimits.count; i++) {
		const struct rlimit_spec *spec = &process->rlimits.items[i];
		const struct rlimit limit = { .rlim_cur = spec->soft, .rlim_max = spec->hard };

		if (setrlimit((int)spec->resource, &limit) != 0)
			return fail(failure, ERROR_SETUP_FAILED, errno, "resource limit %u", spec->resource);
	}
	return true;
}

// EINVAL means that this kernel has neither the capability nor any with a higher number.
static bool limit_bounding_set(uint64_t capabilities, struct failure *failure)
{
	for (unsigned long capability = 0; capability < 64; capability++) {
		if ((capabilities >> capability & 1) != 0 || prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0)
			continue;
		if (errno == EINVAL)
			break;
		return fail(failure, ERROR_SETUP_FAILED, errno, "drop capability %lu", capability);
	}
	return true;
}

// Returns those of `capabilities` that are in the permitted set.
static uint64_t permitted_of(uint64_t capabilities)
{
	struct capability_header header = { .version = LINUX_CAPABILITY_VERSION_3 };
	struct capability_data data[2] = { 0 };

	if (syscall(SYS_capget, &header, data) != 0)
		return 0;
	return capabilities & ((uint64_t)data[1].permitted << 32 | data[0].permitted);
}

struct sets {
	uint64_t effective;
	uint64_t permitted;
	uint64_t inheritable;
};

static bool set_capabilities(const struct sets *sets, struct failure *failure)
{
	struct capability_header header = { .version = LINUX_CAPABILITY_VERSION_3 };
	struct capability_data data[2] = {
		{ .effective = (uint32_t)sets->effective,
		  .permitted = (uint32_t)sets->permitted,
		  .inheritable = (uint32_t)sets->inheritable },
		{ .effective = (uint32_t)(sets->effective >> 32),
		  .permitted = (uint32_t)(sets->permitted >> 32),
		  .inheritable = (uint32_t)(sets->inheritable >> 32) },
	};

	return syscall(SYS_capset, &header, data) == 0 || fail(failure, ERROR_SETUP_FAILED, errno, "set capabilities");
}

// seccomp(2): a filter requires CAP_SYS_ADMIN or no_new_privs.
static bool filter_needs_capability(const struct process_request *process)
{
	return process->seccomp.count > 0 && !process->no_new_privileges;
}

static struct sets lasting_capabilities(const struct process_request *process, const struct user *user)
{
	const uint64_t all = user->uid == 0 ? permitted_of(process->capabilities) : 0;

	if (!process->has_capability_sets)
		return (struct sets){ .effective = all, .permitted = all };
	return (struct sets){
		.effective = permitted_of(process->capability_sets.effective),
		.permitted = permitted_of(process->capability_sets.permitted),
		.inheritable = permitted_of(process->capability_sets.inheritable),
	};
}

static bool raise_ambient(uint64_t capabilities, struct failure *failure)
{
	for (unsigned long capability = 0; capability < 64; capability++) {
		if ((capabilities >> capability & 1) != 0 &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0)
			return fail(failure, ERROR_SETUP_FAILED, errno, "raise ambient capability %lu", capability);
	}
	return true;
}

bool privileges_drop(const struct process_request *process, const struct user *user, struct failure *failure)
{
	const uint64_t admin = filter_needs_capability(process) ? UINT64_C(1) << CAP_SYS_ADMIN : 0;
	struct sets sets;

	if (!limit_bounding_set(process->capabilities, failure))
		return false;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "clear ambient capabilities");
	if (setgroups(user->group_count, user->groups) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "set supplementary groups");
	if (setresgid(user->gid, user->gid, user->gid) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "set group %u", user->gid);
	if ((admin != 0 || process->has_capability_sets) && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "keep capabilities");
	if (setresuid(user->uid, user->uid, user->uid) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "set user %u", user->uid);
	sets = lasting_capabilities(process, user);
	sets.effective |= admin;
	sets.permitted |= admin;
	if (!set_capabilities(&sets, failure) ||
	    !raise_ambient(permitted_of(process->capability_sets.ambient), failure))
		return false;
	if (process->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "no-new-privileges");
	return true;
}

bool privileges_seal(const struct process_request *process, const struct user *user, struct failure *failure)
{
	const struct filter_program filter = {
		.length = (unsigned short)process->seccomp.count,
		.instructions = process->seccomp.instructions,
	};
	// Read before the filter is installed, which may forbid capget(2).
	const struct sets lasting = lasting_capabilities(process, user);

	if (process->seccomp.count == 0)
		return true;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "seccomp filter");
	return !filter_needs_capability(process) || set_capabilities(&lasting, failure);
}

bool privileges_forgo(const struct process_request *process, const struct user *user, struct failure *failure)
{
	const struct sets lasting = lasting_capabilities(process, user);

	return !filter_needs_capability(process) || set_capabilities(&lasting, failure);
}
