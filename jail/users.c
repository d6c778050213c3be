// A user of its own for each jail that root makes: the first of a range that no other jail of this host has. A program
// that leaves its jail is then no one to the processes and the files of the others.
//
// A user is taken by locks on a file that is named after it, which the kernel gives up however their holders end. Root
// alone may enter the folder. The first byte is locked by the launcher, which waits for the program. The second is
// locked by a descriptor that the program inherits: it may outlive the launcher for the time that its own end takes.
// Giving that one up early gains nothing, because the other stays.
#include "jail.h"
#include "linux.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RUNTIME_FOLDER "/run/tsvm"
#define FOLDER "users"
#define OF_LAUNCHER 0
#define OF_PROGRAM 1

static int open_folder_in(int parent, const char *name)
{
	struct stat found;
	if (mkdirat(parent, name, 0700) != 0 && errno != EEXIST)
		return -1;
	int fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &found) != 0)
		return -1;
	if (found.st_uid == 0 && (found.st_mode & 022) == 0)
		return fd;
	errno = EPERM;
	return -1;
}

static int open_folder(void)
{
	int runtime = open_folder_in(AT_FDCWD, RUNTIME_FOLDER);
	if (runtime < 0)
		return -1;
	int folder = open_folder_in(runtime, FOLDER);
	close(runtime);
	return folder;
}

static struct flock byte_lock(short type, off_t byte)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
}

// Returns false if another jail has the user.
static bool lock_user(int launchers, int programs)
{
	struct flock of_launcher = byte_lock(F_WRLCK, OF_LAUNCHER);
	struct flock of_other = byte_lock(F_WRLCK, OF_PROGRAM);
	struct flock of_program = byte_lock(F_RDLCK, OF_PROGRAM);
	return fcntl(launchers, F_OFD_SETLK, &of_launcher) == 0 && fcntl(launchers, F_OFD_GETLK, &of_other) == 0 &&
	       of_other.l_type == F_UNLCK && fcntl(programs, F_OFD_SETLK, &of_program) == 0;
}

void leave_user(struct jail_spec *spec)
{
	if (spec->program_lock >= 0)
		close(spec->program_lock);
	if (spec->user_lock >= 0)
		close(spec->user_lock);
	spec->user = 0;
}

// Returns false if another jail has the user, or, with errno, if the file cannot be opened.
static bool take(int folder, uint32_t user, struct jail_spec *spec)
{
	char name[16];
	snprintf(name, sizeof name, "%u", user);
	spec->user_lock = openat(folder, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	spec->program_lock = spec->user_lock < 0 ? -1 : openat(folder, name, O_RDONLY | O_NOFOLLOW);
	int error = spec->program_lock < 0 ? errno : 0;
	spec->user = user;
	if (error == 0 && lock_user(spec->user_lock, spec->program_lock))
		return true;
	leave_user(spec);
	errno = error;
	return false;
}

void take_user(struct jail_spec *spec, struct jail_report *report)
{
	if (spec->user_count == 0 || geteuid() != 0)
		return;
	int folder = open_folder();
	if (folder < 0) {
		reason_set(&report->no_user, RUNTIME_FOLDER);
		return;
	}
	for (uint32_t index = 0; index < spec->user_count; index++) {
		if (take(folder, spec->first_user + index, spec))
			break;
		if (errno != 0) {
			reason_set(&report->no_user, RUNTIME_FOLDER "/" FOLDER);
			break;
		}
	}
	close(folder);
	if (spec->user == 0 && report->no_user.text[0] == 0)
		snprintf(report->no_user.text, sizeof report->no_user.text, "all %u user IDs from %u are in use",
			 spec->user_count, spec->first_user);
}

// The program, and its first word if that is a path: a script. Root's capabilities do not help it any more.
static bool may_execute(const struct jail_spec *spec, struct reason *why)
{
	for (int index = 0; index < 2 && spec->command[index] != NULL; index++) {
		const char *path = spec->command[index];
		if (path[0] != '/' || access(path, index == 0 ? X_OK : R_OK) == 0 || errno != EACCES)
			continue;
		snprintf(why->text, sizeof why->text, "other users may not read %.120s", path);
		return false;
	}
	return true;
}

bool become_user(const struct jail_spec *spec, struct reason *why)
{
	struct cap_header header = { LINUX_CAPABILITY_VERSION_3, 0 };
	struct cap_data data[2] = { { 0 } };
	// setgroups, setresgid and setresuid of a C library change all threads. There is one.
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || setgroups(0, NULL) != 0 ||
	    setresgid(spec->user, spec->user, spec->user) != 0 || setresuid(spec->user, spec->user, spec->user) != 0) {
		snprintf(why->text, sizeof why->text, "user %u: %s", spec->user, strerror(errno));
		return false;
	}
	if (!may_execute(spec, why))
		return false;
	// What is left of root's rights is given up later.
	if (syscall(SYS_capget, &header, data) != 0) {
		reason_set(why, "capabilities");
		return false;
	}
	data[0].effective = data[0].permitted;
	data[1].effective = data[1].permitted;
	if (syscall(SYS_capset, &header, data) != 0) {
		reason_set(why, "capabilities");
		return false;
	}
	return true;
}
