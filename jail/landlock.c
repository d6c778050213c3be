// Landlock needs no privilege and no namespace (Linux, Documentation/userspace-api/landlock.rst). What a version of
// its interface does not know, it does not take.
#include "jail.h"
#include "linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ALL_OF_VERSION_1 (LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1)
#define OF_FILES                                                                                     \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | \
	 LANDLOCK_ACCESS_FS_TRUNCATE | LANDLOCK_ACCESS_FS_IOCTL_DEV)
#define TO_READ (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define TO_USE (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE)

#define ABI_REFER 2
#define ABI_TRUNCATE 3
#define ABI_TCP 4
#define ABI_IOCTL 5
#define ABI_SCOPE 6

static uint64_t file_rights(int abi)
{
	uint64_t rights = ALL_OF_VERSION_1;
	if (abi >= ABI_REFER)
		rights |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= ABI_TRUNCATE)
		rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
	if (abi >= ABI_IOCTL)
		rights |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
	return rights;
}

static bool allow(int ruleset, int fd, uint64_t rights)
{
	struct stat status;
	if (fstat(fd, &status) != 0)
		return false;
	struct landlock_path_beneath_attr rule = {
		.allowed_access = S_ISDIR(status.st_mode) ? rights : rights & OF_FILES,
		.parent_fd = fd,
	};
	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
}

// A path that does not exist is left out.
static bool allow_path(int ruleset, const char *path, uint64_t rights)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT;
	bool allowed = allow(ruleset, fd, rights);
	close(fd);
	return allowed;
}

static bool allow_files(const struct jail_spec *spec, int ruleset, uint64_t all)
{
	for (int index = 0; index < spec->readable_count; index++) {
		if (!allow_path(ruleset, spec->readable[index], TO_READ))
			return false;
	}
	for (int index = 0; index < spec->device_count; index++) {
		char path[64];
		snprintf(path, sizeof path, "/dev/%s", spec->devices[index]);
		if (!allow_path(ruleset, path, TO_USE))
			return false;
	}
	for (int index = 0; index < spec->folder_count; index++) {
		if (!allow(ruleset, spec->folders[index], spec->folder_is_read_only[index] ? TO_READ : all))
			return false;
	}
	return true;
}

void restrict_by_landlock(const struct jail_spec *spec, struct jail_report *report)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi <= 0) {
		reason_set(&report->no_landlock, "landlock");
		return;
	}
	report->landlock = (int)abi;
	// Version 1 refuses each rename and link from one folder to another: guests need them in their shares.
	bool files = !report->has_namespaces && (abi >= ABI_REFER || spec->folder_count == 0);
	struct landlock_ruleset_attr attributes = {
		.handled_access_fs = files ? file_rights(report->landlock) : 0,
		.handled_access_net =
			abi >= ABI_TCP ? LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP : 0,
		.scoped = abi >= ABI_SCOPE ? LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL : 0,
	};
	if (attributes.handled_access_fs == 0 && attributes.handled_access_net == 0)
		return;
	long ruleset = syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
	if (ruleset < 0) {
		reason_set(&report->no_landlock, "landlock ruleset");
		return;
	}
	if (files && !allow_files(spec, (int)ruleset, attributes.handled_access_fs))
		reason_set(&report->no_landlock, "landlock rule");
	else if (syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
		reason_set(&report->no_landlock, "landlock");
	else {
		report->landlock_files = files;
		report->landlock_network = attributes.handled_access_net != 0;
		report->landlock_scope = attributes.scoped != 0;
	}
	close((int)ruleset);
}
