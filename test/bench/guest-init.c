// A minimal init with a disk: mounts the image, prints its name, and resets the machine. With the
// argument "hold" it waits until the VMM is killed.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char release[256] = "";
	if (mount("dev", "/dev", "devtmpfs", 0, NULL) || mount("/dev/vda", "/image", "erofs", MS_RDONLY, NULL))
		printf("mount failed\n");
	int file = open("/image/usr/lib/os-release", O_RDONLY);
	if (file >= 0 && read(file, release, sizeof release - 1) > 0)
		release[strcspn(release, "\n")] = '\0';
	printf("guest says %s\n", release);
	fflush(stdout);
	if (argc > 1 && strcmp(argv[1], "hold") == 0)
		for (;;)
			pause();
	reboot(RB_AUTOBOOT);
	return 1;
}
