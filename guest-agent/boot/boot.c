// Early set-up of the machine. Failures are logged on the console. If a container needs what
// failed, its request fails too, and the host gets an answer.
#include "boot/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/console.h"
#include "boot/modules.h"

static bool machine;

bool boot_is_machine(void)
{
	return machine;
}

void boot_begin(bool is_machine)
{
	machine = is_machine;
}

static void mount_or_log(const char *type, const char *target, unsigned long flags, const char *options)
{
	if (mkdir(target, 0755) != 0 && errno != EEXIST)
		console_log("%s: %s", target, strerror(errno));
	if (mount(type, target, type, flags, options) != 0)
		console_log("mount %s: %s", target, strerror(errno));
}

// pivot_root(2) cannot leave the initramfs, so a tmpfs is mounted over it.
static void leave_initramfs(void)
{
	mount_or_log("tmpfs", "/root", 0, "mode=0755");
	if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
		console_log("leaving the initramfs: %s", strerror(errno));
}

// Opens descriptors 0 to 2. Otherwise a pipe or socket would get one of their numbers.
static void open_standard_streams(void)
{
	int null = open("/dev/null", O_RDWR);

	while (null >= 0 && null <= STDERR_FILENO)
		null = dup(null);
	if (null > STDERR_FILENO)
		close(null);
}

static void bring_up_loopback(void)
{
	struct ifreq interface = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (control < 0 || ioctl(control, SIOCSIFFLAGS, &interface) != 0)
		console_log("loopback interface: %s", strerror(errno));
	if (control >= 0)
		close(control);
}

static void write_setting(const char *path, const char *value)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);

	if (file < 0)
		return; // the kernel has no such setting
	if (write(file, value, strlen(value)) < 0)
		console_log("%s: %s", path, strerror(errno));
	close(file);
}

bool boot_mount(void)
{
	const unsigned long safe = MS_NOSUID | MS_NODEV | MS_NOEXEC;

	umask(0);
	if (machine) {
		modules_load();
		leave_initramfs();
		mount_or_log("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
	} else if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
		console_log("making the mounts private: %s", strerror(errno));
		return false;
	}
	open_standard_streams();
	mount_or_log("proc", "/proc", safe, NULL);
	mount_or_log("sysfs", "/sys", safe, NULL);
	mount_or_log("cgroup2", "/sys/fs/cgroup", safe, NULL);
	mount_or_log("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0700");
	bring_up_loopback();
	// As in Docker, low ports and ping need no privilege.
	write_setting("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
	write_setting("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
	if (machine)
		write_setting("/proc/self/oom_score_adj", "-1000");
	return true;
}
