// Process 1 of a virtual machine whose monitor is not ours: it loads the modules that are beside it,
// goes to the image's disk as its root, and serves. The kernel hands on what it is told by variables
// of its command line:
//
// - GAUGE_CHANNEL: where it serves (serve.c)
// - GAUGE_COMMAND: the words of the first command, with commas between them
// - GAUGE_FOLDER: the tag of the host's folder. Absent: there is none
// - GAUGE_END: `off` if the machine ends when it is switched off. Absent: when it restarts
#include "gauge.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_WORDS = 64, MOST_BYTES = 65536, LOOKS = 3000, LOOK_NS = 10000000 };

static const char DISK[] = "/dev/vda";
static const char ROOT[] = "/new";
static const char MODULES[] = "/modules";
/** Variables of the image, each with its NUL. */
static const char ENVIRONMENT[] = "/boot/environment";

static int is_module(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/** Their names sort in the order in which they are loaded. A kernel with all of it built in has none. */
static void load_modules(void)
{
	struct dirent **entries;
	int count = scandir(MODULES, &entries, is_module, alphasort);
	for (int index = 0; index < count; index++) {
		char path[sizeof(MODULES) + 1 + NAME_MAX];
		snprintf(path, sizeof(path), "%s/%s", MODULES, entries[index]->d_name);
		int file = open(path, O_RDONLY | O_CLOEXEC);
		if (file < 0 || (syscall(SYS_finit_module, file, "", 0) != 0 && errno != EEXIST))
			gauge_fail(path);
		close(file);
		unlink(path);
	}
}

static void mount_on(const char *type, const char *source, const char *path, unsigned long flags, const char *options)
{
	char target[PATH_MAX];
	snprintf(target, sizeof(target), "%s%s", ROOT, path);
	if (mount(source, target, type, flags, options) != 0)
		gauge_fail(target);
}

/** A driver may find the disk after its module is loaded. */
static void await_disk(void)
{
	for (int look = 0; access(DISK, F_OK) != 0; look++) {
		if (look == LOOKS)
			gauge_fail(DISK);
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
	}
}

static void enter_root(const char *folder)
{
	mkdir("/dev", 0755);
	if (mount("dev", "/dev", "devtmpfs", 0, NULL) != 0 && errno != EBUSY)
		gauge_fail("/dev");
	load_modules();
	await_disk();
	mkdir(ROOT, 0755);
	mount_on("ext4", DISK, "", MS_RDONLY, NULL);
	mount_on("devtmpfs", "dev", "/dev", 0, NULL);
	mount_on("proc", "proc", "/proc", 0, NULL);
	mount_on("sysfs", "sys", "/sys", MS_RDONLY, NULL);
	mount_on("tmpfs", "tmp", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777");
	mount_on("tmpfs", "run", "/run", MS_NOSUID | MS_NODEV, "mode=755");
	if (folder != NULL)
		mount_on("virtiofs", folder, "/.tsvm-folder", MS_NOSUID | MS_NODEV, NULL);
	if (chdir(ROOT) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
		gauge_fail(ROOT);
}

/** Replaces this process's variables by those of the image. */
static void take_environment(void)
{
	static char bytes[MOST_BYTES + 1];
	int file = open(ENVIRONMENT, O_RDONLY | O_CLOEXEC);
	ssize_t size = file < 0 ? -1 : read(file, bytes, MOST_BYTES);
	if (size < 0)
		gauge_fail(ENVIRONMENT);
	close(file);
	clearenv();
	for (char *entry = bytes; entry - bytes < size; entry += strlen(entry) + 1)
		putenv(entry);
}

static char *variable(const char *name)
{
	char *value = getenv(name);
	errno = EINVAL;
	if (value == NULL)
		gauge_fail(name);
	return value;
}

static _Noreturn void serve(void)
{
	char *words[MOST_WORDS + 1];
	size_t count = 0;
	const char *channel = variable("GAUGE_CHANNEL");
	char *command = variable("GAUGE_COMMAND");
	const char *folder = getenv("GAUGE_FOLDER");
	for (char *word = strtok(command, ","); word != NULL && count < MOST_WORDS; word = strtok(NULL, ","))
		words[count++] = word;
	words[count] = NULL;
	take_environment();
	enter_root(folder);
	exit(gauge_serve(channel, words));
}

bool gauge_is_init(void)
{
	return getpid() == 1 && getenv("GAUGE_CHANNEL") != NULL;
}

/** The machine ends with what serves in it, whose last words are on the console. */
_Noreturn void gauge_init(void)
{
	const char *end = getenv("GAUGE_END");
	pid_t child = fork();
	if (child == 0)
		serve();
	while (child > 0) {
		pid_t ended = wait(NULL);
		if (ended == child || (ended < 0 && errno != EINTR))
			break;
	}
	sync();
	for (;;)
		reboot(end != NULL && strcmp(end, "off") == 0 ? RB_POWER_OFF : RB_AUTOBOOT);
}
