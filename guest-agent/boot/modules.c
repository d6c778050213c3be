// The host has put the modules that the machine needs into a folder of the initramfs. Their names
// sort in the order in which they are loaded.
#include "boot/modules.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/console.h"

#define FOLDER "/modules"

// A kernel may start a program for each device and module, which is not there. On User-Mode Linux
// that takes the host a process.
static void start_no_helpers(void)
{
	int file;

	mkdir("/proc", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL) != 0)
		return;
	file = open("/proc/sys/kernel/hotplug", O_WRONLY | O_CLOEXEC);
	// An empty line is no path.
	if (file >= 0 && write(file, "\n", 1) < 0)
		console_log("uevent helper: %s", strerror(errno));
	if (file >= 0)
		close(file);
	umount("/proc");
}

static void load(const char *name)
{
	char path[sizeof FOLDER + 1 + NAME_MAX];
	int file;

	snprintf(path, sizeof path, FOLDER "/%s", name);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || (syscall(SYS_finit_module, file, "", 0) != 0 && errno != EEXIST))
		console_log("kernel module %s: %s", name, strerror(errno));
	if (file >= 0)
		close(file);
	// It would take memory as long as the machine runs.
	unlink(path);
}

static int is_module(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

void modules_load(void)
{
	struct dirent **entries;
	int count = scandir(FOLDER, &entries, is_module, alphasort);

	if (count < 0)
		return; // the kernel has all of it built in
	start_no_helpers();
	for (int i = 0; i < count; i++) {
		load(entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	rmdir(FOLDER);
}
