// The files are the agent's, and mounted in the container: its processes cannot change them, and the
// agent can without entering the container.
#include "container/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/target.h"

#define KERNEL_UUID "/proc/sys/kernel/random/uuid"
// In the container.
#define FOLDER "/dev/tsvm"

enum { UUID_LENGTH = 36 };

// Empty: not set.
static char machine_generation[UUID_LENGTH + 1];
static char machine_boot_id[UUID_LENGTH + 1];

void identity_set_generation(const char *generation)
{
	snprintf(machine_generation, sizeof machine_generation, "%s", generation);
}

void identity_set_boot_id(const char *boot_id)
{
	snprintf(machine_boot_id, sizeof machine_boot_id, "%s", boot_id);
}

bool identity_write_line(const char *name, const char *text, struct failure *failure)
{
	char line[UUID_LENGTH + 2];
	int length = snprintf(line, sizeof line, "%s\n", text);
	int file = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
	bool written = file >= 0 && write(file, line, (size_t)length) == length;

	if (!written)
		fail(failure, ERROR_SETUP_FAILED, errno, "%s", name);
	if (file >= 0)
		close(file);
	return written;
}

// The kernel's boot_id would not do: the kernel draws it when it is first read, and machines that are
// copied before that each draw their own.
static bool draw_generation(struct failure *failure)
{
	int file = open(KERNEL_UUID, O_RDONLY | O_CLOEXEC);
	bool drawn = file >= 0 && read(file, machine_generation, UUID_LENGTH) == UUID_LENGTH;

	if (!drawn) {
		fail(failure, ERROR_SETUP_FAILED, errno, KERNEL_UUID);
		machine_generation[0] = '\0';
	}
	if (file >= 0)
		close(file);
	return drawn;
}

bool identity_write_generation(struct failure *failure)
{
	return (machine_generation[0] != '\0' || draw_generation(failure)) &&
	       identity_write_line(IDENTITY_GENERATION, machine_generation, failure);
}

bool identity_write_boot_id(struct failure *failure)
{
	return identity_write_line(IDENTITY_BOOT_ID, machine_boot_id, failure);
}

bool identity_write_files(struct failure *failure)
{
	if (mkdir(IDENTITY_FOLDER, 0755) != 0 && errno != EEXIST)
		return fail(failure, ERROR_SETUP_FAILED, errno, "mkdir " IDENTITY_FOLDER);
	return identity_write_generation(failure) && (machine_boot_id[0] == '\0' || identity_write_boot_id(failure));
}

void identity_remove_files(void)
{
	unlink(IDENTITY_GENERATION);
	rmdir(IDENTITY_FOLDER);
	unlink(IDENTITY_BOOT_ID);
	unlink(IDENTITY_MACHINE_ID);
}

static bool mount_readonly(int root, const char *path, enum target_kind kind, const char *source,
			   struct failure *failure)
{
	const unsigned long readonly = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;

	return target_mount(root, path, kind, source, NULL, MS_BIND, NULL, failure) &&
	       target_mount(root, path, kind, NULL, NULL, readonly, NULL, failure);
}

bool identity_mount(int root, struct failure *failure)
{
	return mount_readonly(root, FOLDER, TARGET_DIRECTORY, IDENTITY_FOLDER, failure) &&
	       (machine_boot_id[0] == '\0' ||
		mount_readonly(root, KERNEL_BOOT_ID, TARGET_FILE, IDENTITY_BOOT_ID, failure));
}
