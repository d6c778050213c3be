// The container's mounts and their options, as in Docker's default specification (moby,
// oci/defaults.go) and in "Default Filesystems" and "Default Devices" of the OCI runtime
// specification.
#include "container/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "container/devices.h"
#include "container/disk.h"
#include "container/identity.h"
#include "container/mounts.h"
#include "container/secrets.h"
#include "container/target.h"

// In the container's directory.
#define FILES "etc"
// The /dev/shm of the containers in the machine's ipc namespace.
#define MACHINE_SHM "/run/machine-shm"

// Its bit in a container's `joined`.
static const uint64_t joined_ipc = 1;

static const unsigned long safe = MS_NOSUID | MS_NODEV | MS_NOEXEC;

struct mount_spec {
	const char *target;
	const char *type;
	unsigned long flags;
	const char *options;
	bool optional; // the kernel may lack the file system
};

static const struct mount_spec mounts[] = {
	{ "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, false },
	{ "/dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k", false },
	{ "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5", false },
	{ "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL, false },
	{ "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL, false },
	{ "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true },
};

static const char *const masked_paths[] = {
	"/proc/asound",      "/proc/acpi",          "/proc/interrupts", "/proc/kcore",
	"/proc/keys",        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
	"/proc/sched_debug", "/proc/scsi",          "/sys/firmware",    "/sys/devices/virtual/powercap",
};

static const char *const readonly_paths[] = {
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

static bool write_file(const char *path, const char *text, size_t length, struct failure *failure)
{
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (file < 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "%s", path);
	while (length > 0) {
		ssize_t count = write(file, text, length);

		if (count < 0) {
			close(file);
			return fail(failure, ERROR_SETUP_FAILED, errno, "%s", path);
		}
		text += count;
		length -= (size_t)count;
	}
	close(file);
	return true;
}

static bool write_files(const char *name, const char *hosts, const char *resolv_conf, struct failure *failure)
{
	char hostname[128];

	snprintf(hostname, sizeof hostname, "%s\n", name);
	return write_file(FILES "/hostname", hostname, strlen(hostname), failure) &&
	       (hosts == NULL || write_file(FILES "/hosts", hosts, strlen(hosts), failure)) &&
	       (resolv_conf == NULL || write_file(FILES "/resolv.conf", resolv_conf, strlen(resolv_conf), failure));
}

bool rootfs_write_files(const struct container_request *container, struct failure *failure)
{
	if (mkdir(FILES, 0755) != 0 && errno != EEXIST)
		return fail(failure, ERROR_SETUP_FAILED, errno, "mkdir " FILES);
	return write_files(container->hostname, container->hosts, container->resolv_conf, failure);
}

bool rootfs_change_files(const struct identity_spec *identity, struct failure *failure)
{
	return write_files(identity->hostname, identity->hosts, identity->resolv_conf, failure);
}

void rootfs_remove_files(void)
{
	unlink(FILES "/hostname");
	unlink(FILES "/hosts");
	unlink(FILES "/resolv.conf");
	rmdir(FILES);
}

// Returns true if a share takes the place of the generated file.
static bool is_given(const struct container_request *container, const char *path)
{
	for (size_t i = 0; i < container->shares.count; i++) {
		if (strcmp(container->shares.items[i].path, path) == 0)
			return true;
	}
	return false;
}

static bool mount_file(int root, const struct container_request *container, const char *path, const char *source,
		       struct failure *failure)
{
	return is_given(container, path) || target_mount(root, path, TARGET_FILE, source, NULL, MS_BIND, NULL, failure);
}

static bool mount_files(int root, const struct container_request *container, struct failure *failure)
{
	return mount_file(root, container, "/etc/hostname", FILES "/hostname", failure) &&
	       (container->hosts == NULL || mount_file(root, container, "/etc/hosts", FILES "/hosts", failure)) &&
	       (container->resolv_conf == NULL ||
		mount_file(root, container, "/etc/resolv.conf", FILES "/resolv.conf", failure));
}

bool rootfs_share_memory(const struct container_request *container, struct failure *failure)
{
	static bool is_mounted;
	char options[64];

	if (is_mounted || (container->joined & joined_ipc) == 0)
		return true;
	snprintf(options, sizeof options, "mode=1777,size=%llu", (unsigned long long)container->shm_size);
	if ((mkdir(MACHINE_SHM, 0700) != 0 && errno != EEXIST) ||
	    mount("shm", MACHINE_SHM, "tmpfs", safe, options) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "the machine's /dev/shm");
	is_mounted = true;
	return true;
}

static bool mount_shm(int root, const struct container_request *container, struct failure *failure)
{
	char options[64];

	if ((container->joined & joined_ipc) != 0)
		return target_mount(root, "/dev/shm", TARGET_DIRECTORY, MACHINE_SHM, NULL, MS_BIND, NULL, failure);
	snprintf(options, sizeof options, "mode=1777,size=%llu", (unsigned long long)container->shm_size);
	return target_mount(root, "/dev/shm", TARGET_DIRECTORY, "shm", "tmpfs", safe, options, failure);
}

static bool mount_defaults(int root, const struct container_request *container, struct failure *failure)
{
	for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
		const struct mount_spec *spec = &mounts[i];
		unsigned long flags = container->privileged ? spec->flags & ~(unsigned long)MS_RDONLY : spec->flags;

		if (!target_mount(root, spec->target, TARGET_DIRECTORY, spec->type, spec->type, flags, spec->options,
				  failure) &&
		    !(spec->optional && failure->error == ENODEV))
			return false;
	}
	return mount_shm(root, container, failure);
}

// See "pivot_root(".", ".")" in pivot_root(2): the old root ends up over the new one and is then
// detached.
static bool pivot(int root, struct failure *failure)
{
	if (fchdir(root) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 ||
	    chdir("/") != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "pivot_root");
	return true;
}

bool rootfs_enter(const struct container_request *container, const char *cwd, struct failure *failure)
{
	int root;
	int directory;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "making the mounts private");
	root = open(DISK_ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, DISK_ROOT);
	if (!mount_defaults(root, container, failure) || !devices_make(root, container, failure) ||
	    !identity_mount(root, failure))
		return false;
	if (!mounts_make(root, container, failure) || !mount_files(root, container, failure) ||
	    !secrets_mount(root, container, failure))
		return false;
	directory = target_open(root, cwd, TARGET_DIRECTORY, failure);
	if (directory < 0)
		return false;
	close(directory);
	if (!pivot(root, failure))
		return false;
	close(root);
	return true;
}

static bool mask(const char *path, struct failure *failure)
{
	if (mount("/dev/null", path, NULL, MS_BIND, NULL) == 0 || errno == ENOENT)
		return true;
	if (errno == ENOTDIR && mount("tmpfs", path, "tmpfs", MS_RDONLY, "size=0k") == 0)
		return true;
	return fail(failure, ERROR_SETUP_FAILED, errno, "mask %s", path);
}

static bool protect(const char *path, struct failure *failure)
{
	if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) != 0)
		return errno == ENOENT || fail(failure, ERROR_SETUP_FAILED, errno, "protect %s", path);
	if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | safe, NULL) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "protect %s", path);
	return true;
}

static bool protect_kernel(struct failure *failure)
{
	for (size_t i = 0; i < sizeof readonly_paths / sizeof *readonly_paths; i++) {
		if (!protect(readonly_paths[i], failure))
			return false;
	}
	for (size_t i = 0; i < sizeof masked_paths / sizeof *masked_paths; i++) {
		if (!mask(masked_paths[i], failure))
			return false;
	}
	return true;
}

bool rootfs_protect(const struct container_request *container, struct failure *failure)
{
	if (!container->privileged && !protect_kernel(failure))
		return false;
	if (container->root.readonly && mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "make the root read-only");
	return true;
}
