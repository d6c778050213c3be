// Mounting the image (EROFS), the writable layer (ext4 or tmpfs), and the overlay; or a shared root.
#include "container/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/console.h"
#include "boot/machine.h"

#define WORK DISK_LAYER "/work"

enum {
	// Milliseconds.
	PLUG_TIMEOUT = 10000,
	PLUG_PAUSE = 1,
};

// The preset of `share`: the root is a disk.
#define NO_SHARE UINT32_MAX

// A machine that was restored from a template gets its disks then. The kernel learns of it by an
// interrupt, and reads the capacity a little later. Anything but a device is left to mount(2).
static void wait_for_capacity(const char *device)
{
	const struct timespec pause = { .tv_nsec = PLUG_PAUSE * 1000000L };
	int file = open(device, O_RDONLY | O_CLOEXEC);

	for (int waited = 0; file >= 0 && waited < PLUG_TIMEOUT; waited += PLUG_PAUSE) {
		if (lseek(file, 0, SEEK_END) != 0)
			break;
		nanosleep(&pause, NULL);
	}
	if (file >= 0)
		close(file);
}

static bool make_directory(const char *path, struct failure *failure)
{
	return mkdir(path, 0755) == 0 || errno == EEXIST || fail(failure, ERROR_SETUP_FAILED, errno, "mkdir %s", path);
}

static bool mount_layer(const struct root_spec *root, struct failure *failure)
{
	char options[64] = "mode=0755";

	if (root->scratch != NULL) {
		wait_for_capacity(root->scratch);
		if (mount(root->scratch, DISK_LAYER, "ext4", MS_NOATIME, NULL) != 0)
			return fail(failure, ERROR_SETUP_FAILED, errno, "mount scratch disk %s", root->scratch);
		return true;
	}
	if (root->tmpfs_size > 0)
		snprintf(options, sizeof options, "mode=0755,size=%llu", (unsigned long long)root->tmpfs_size);
	if (mount("tmpfs", DISK_LAYER, "tmpfs", MS_NOATIME, options) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "mount writable layer");
	return true;
}

// The root directory of an overlay is the upper one. It gets mode, owner and times of the image's
// root directory.
static bool make_upper(struct failure *failure)
{
	struct stat image;

	if (mkdir(DISK_UPPER, 0755) != 0)
		return errno == EEXIST || fail(failure, ERROR_SETUP_FAILED, errno, "mkdir " DISK_UPPER);
	if (stat(DISK_IMAGE, &image) != 0 || chown(DISK_UPPER, image.st_uid, image.st_gid) != 0 ||
	    chmod(DISK_UPPER, image.st_mode & 07777) != 0 ||
	    utimensat(AT_FDCWD, DISK_UPPER, (struct timespec[]){ image.st_atim, image.st_mtim }, 0) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "attributes of the root directory");
	return true;
}

// MS_NODEV: device nodes in a share would be the machine's own devices.
static bool mount_shared_root(uint32_t share, struct failure *failure)
{
	char source[sizeof MACHINE_SHARES + 16];

	snprintf(source, sizeof source, MACHINE_SHARES "/%u", share);
	if (!make_directory(DISK_ROOT, failure))
		return false;
	if (mount(source, DISK_ROOT, NULL, MS_BIND, NULL) != 0 ||
	    mount(NULL, DISK_ROOT, NULL, MS_REMOUNT | MS_BIND | MS_NODEV, NULL) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "mount shared root %u", share);
	return true;
}

bool disk_mount(const struct root_spec *root, struct failure *failure)
{
	if ((root->device == NULL) == (root->share == NO_SHARE))
		return fail(failure, ERROR_BAD_REQUEST, 0, "root: either a device or a share");
	if (root->share != NO_SHARE)
		return mount_shared_root(root->share, failure);
	if (!make_directory(DISK_IMAGE, failure) || !make_directory(DISK_LAYER, failure) ||
	    !make_directory(DISK_ROOT, failure))
		return false;
	wait_for_capacity(root->device);
	if (mount(root->device, DISK_IMAGE, "erofs", MS_RDONLY, NULL) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "mount image %s", root->device);
	if (!mount_layer(root, failure) || !make_upper(failure) || !make_directory(WORK, failure))
		return false;
	if (mount("overlay", DISK_ROOT, "overlay", 0,
		  "xino=on,lowerdir=" DISK_IMAGE ",upperdir=" DISK_UPPER ",workdir=" WORK) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "mount overlay");
	return true;
}

// Writes the layer's cached data out.
static void sync_layer(void)
{
	int layer = open(DISK_LAYER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (layer >= 0) {
		syncfs(layer);
		close(layer);
	}
}

bool disk_unmount(void)
{
	bool unmounted;

	sync_layer();
	umount2(DISK_ROOT, MNT_DETACH);
	umount2(DISK_IMAGE, MNT_DETACH);
	unmounted = umount2(DISK_LAYER, 0) == 0 || errno == EINVAL || errno == ENOENT;
	if (!unmounted && mount(NULL, DISK_LAYER, NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0)
		console_log("unmount writable layer: %s", strerror(errno));
	if (unmounted) {
		rmdir(DISK_ROOT);
		rmdir(DISK_IMAGE);
		rmdir(DISK_LAYER);
	}
	return unmounted;
}
