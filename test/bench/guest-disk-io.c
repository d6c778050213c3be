// How fast a guest's disk is: reads and writes /dev/vda past the page cache, one request at a time, first in order in
// pieces of 1 MiB, then in pieces of 4 KiB here and there. Says four numbers and resets the machine.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20, PAGE = 4096, MIBS = 400, REQUESTS = 4000 };

typedef ssize_t transfer(int, void *, size_t, off_t);

static double seconds(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static double sequential(int disk, void *buffer, transfer *move)
{
	double start = seconds();
	for (int piece = 0; piece < MIBS; piece++)
		if (move(disk, buffer, MIB, (off_t)piece * MIB) != MIB)
			return 0;
	return MIBS / (seconds() - start);
}

static double scattered(int disk, void *buffer, transfer *move)
{
	double start = seconds();
	srand(1);
	for (int request = 0; request < REQUESTS; request++)
		if (move(disk, buffer, PAGE, (off_t)(rand() % (MIBS * (MIB / PAGE))) * PAGE) != PAGE)
			return 0;
	return REQUESTS / (seconds() - start);
}

int main(void)
{
	// As O_DIRECT wants it.
	static _Alignas(PAGE) char buffer[MIB];
	transfer *read_at = pread, *write_at = (transfer *)pwrite;
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	int disk = open("/dev/vda", O_RDWR | O_DIRECT);
	if (disk < 0)
		reboot(RB_AUTOBOOT);
	double values[] = {
		sequential(disk, buffer, read_at),
		sequential(disk, buffer, write_at),
		scattered(disk, buffer, read_at),
		scattered(disk, buffer, write_at),
	};
	printf("disk: %.1f %.1f %.1f %.1f.\n", values[0], values[1], values[2], values[3]);
	fflush(stdout);
	reboot(RB_AUTOBOOT);
	return 1;
}
