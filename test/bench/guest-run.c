// An init that runs one program and resets the machine. The kernel command line names the program
// as `run=PROGRAM,ARGUMENT,...`, which the kernel passes to init as an environment variable.
// Arguments after a `--` would not do: QEMU appends words to the line, and a `--` would hide them
// from the kernel.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_WORDS = 16 };

int main(void)
{
	char *argv[MAX_WORDS + 1] = { strtok(getenv("run"), ",") };
	for (int word = 1; word < MAX_WORDS && argv[word - 1] != NULL; word++)
		argv[word] = strtok(NULL, ",");
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	pid_t child = fork();
	if (child == 0) {
		execv(argv[0], argv);
		perror(argv[0]);
		_exit(127);
	}
	int status = 0;
	waitpid(child, &status, 0);
	printf("guest: ended with %d\n", WEXITSTATUS(status));
	fflush(stdout);
	reboot(RB_AUTOBOOT);
	return 1;
}
