// Mounts an image's disk and reads the first byte of some of its files, none of which was read
// before. Prints their number and the total time in nanoseconds. The time is that of all files,
// because the clock of an emulated machine may tick as rarely as every 10 ms.
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FILES = 100000, WANTED = 2000 };

static char *files[MAX_FILES];
static int count;

static int add(const char *path, const struct stat *status, int type, struct FTW *at)
{
	(void)at;
	if (type == FTW_F && S_ISREG(status->st_mode) && status->st_size > 0 && count < MAX_FILES)
		files[count++] = strdup(path);
	return 0;
}

static long now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

int main(void)
{
	if (mount("/dev/vda", "/tmp", "erofs", MS_RDONLY, NULL) != 0) {
		perror("/dev/vda");
		return 1;
	}
	nftw("/tmp", add, 32, FTW_PHYS | FTW_MOUNT);
	long start = now();
	for (int i = 0; i < WANTED && count > 0; i++) {
		// Files spread over the whole disk, so that readahead for one file seldom reads
		// another.
		const char *path = files[(long)i * count / WANTED];
		char byte;
		int file = open(path, O_RDONLY);
		if (file < 0 || read(file, &byte, 1) != 1) {
			perror(path);
			return 1;
		}
		close(file);
	}
	printf("took %d %ld\n", WANTED, now() - start);
	return count < WANTED;
}
