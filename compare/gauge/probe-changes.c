// What it can change: of the kernel, of devices, and of the machine.
#include "probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <unistd.h>

/** A number that no device has (Documentation/admin-guide/devices.txt: 120 to 127 are for experiments). */
enum { NO_DEVICE = 120, MOST_HANDLE = 128, DELAY_PORT = 0x80, KEXEC_BAD_FLAGS = 0x8000 };

/** The kernel looks for the right first, and then at the arguments, which are invalid. */
static bool is_right(long result)
{
	return result >= 0 || (errno != EPERM && errno != EACCES && errno != ENOSYS);
}

/** Opens a block device of /dev, if there is one. */
static bool opens_disk(void)
{
	DIR *folder = opendir("/dev");
	if (folder == NULL)
		return false;
	bool found = false;
	int error = ENOENT;
	for (struct dirent *entry; !found && (entry = readdir(folder)) != NULL;) {
		char path[sizeof("/dev/") + sizeof(entry->d_name)];
		struct stat status;
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		if (stat(path, &status) != 0 || !S_ISBLK(status.st_mode))
			continue;
		found = probe_opens(path, O_RDONLY);
		error = errno;
	}
	closedir(folder);
	errno = error;
	return found;
}

static bool loads_modules(void)
{
	return is_right(syscall(SYS_init_module, NULL, 0, ""));
}

static bool sets_clock(void)
{
	struct timex change = { .modes = ADJ_TICK, .tick = 1 };
	return is_right(adjtimex(&change));
}

static bool restarts(void)
{
	return is_right(syscall(SYS_reboot, 0, 0, 0, NULL));
}

static bool loads_kernel(void)
{
	return is_right(syscall(SYS_kexec_load, 0, 0, NULL, KEXEC_BAD_FLAGS));
}

static bool reaches_ports(void)
{
	return ioperm(DELAY_PORT, 1, 1) == 0;
}

static bool mounts(void)
{
	return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", "/tmp", "tmpfs", 0, NULL) == 0;
}

static bool makes_device(void)
{
	static const char PATH[] = "/tmp/.tsvm-probe-device";
	if (mknod(PATH, S_IFBLK | 0600, makedev(NO_DEVICE, 0)) != 0)
		return false;
	unlink(PATH);
	return true;
}

static bool opens_release_agent(void)
{
	char path[300] = "/sys/fs/cgroup/release_agent";
	if (probe_opens(path, O_WRONLY))
		return true;
	DIR *folder = opendir("/sys/fs/cgroup");
	if (folder == NULL)
		return false;
	bool found = false;
	for (struct dirent *entry; !found && (entry = readdir(folder)) != NULL;) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/release_agent", entry->d_name);
		found = probe_opens(path, O_WRONLY);
	}
	closedir(folder);
	errno = ENOENT;
	return found;
}

static bool becomes_real_time(void)
{
	struct sched_param parameters = { .sched_priority = 1 };
	// musl's function does nothing.
	return syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &parameters) == 0;
}

/** Opens its own root by handle: with the right to it, any file of the file system opens. */
static bool opens_by_handle(void)
{
	union {
		struct {
			unsigned bytes;
			int type;
		} head;
		char room[sizeof(unsigned) + sizeof(int) + MOST_HANDLE];
	} handle = { .head = { .bytes = MOST_HANDLE } };
	int mount;
	int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool found = root >= 0 && syscall(SYS_name_to_handle_at, AT_FDCWD, "/", &handle, &mount, 0) == 0 &&
		     probe_close(syscall(SYS_open_by_handle_at, root, &handle, O_RDONLY | O_CLOEXEC));
	int error = errno;
	probe_close(root);
	errno = error;
	return found;
}

static bool writes_root(void)
{
	static const char PATH[] = "/.tsvm-probe";
	if (!probe_close(open(PATH, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)))
		return false;
	unlink(PATH);
	return true;
}

void probe_changes(void)
{
	probe_tell("sysctl", probe_opens("/proc/sys/kernel/core_pattern", O_WRONLY));
	probe_tell("sysrq", probe_opens("/proc/sysrq-trigger", O_WRONLY));
	probe_tell("uevent-helper", probe_opens("/sys/kernel/uevent_helper", O_WRONLY));
	probe_tell("release-agent", opens_release_agent());
	probe_tell("modules", loads_modules());
	probe_tell("kexec", loads_kernel());
	probe_tell("reboot", restarts());
	probe_tell("clock", sets_clock());
	probe_tell("physical-memory", probe_opens("/dev/mem", O_RDONLY));
	probe_tell("kernel-memory", probe_opens("/proc/kcore", O_RDONLY));
	probe_tell("io-ports", probe_in_child(reaches_ports));
	probe_tell("disk", opens_disk());
	probe_tell("device-node", makes_device());
	probe_tell("mount", probe_in_child(mounts));
	probe_tell("file-handle", opens_by_handle());
	probe_tell("root-write", writes_root());
	probe_tell("real-time", probe_in_child(becomes_real_time));
}
