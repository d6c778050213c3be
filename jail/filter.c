// The filter of system calls that the program starts with, compiled by the owner (seccomp/). It is taken before the
// program is executed, so that every thread of the program has it.
#include "jail.h"
#include "linux.h"

#include <errno.h>
#include <sys/prctl.h>
#include <unistd.h>

// The kernel's limit.
#define MAX_INSTRUCTIONS 4096

static struct sock_filter instructions[MAX_INSTRUCTIONS];
static unsigned short count;

// From a file at its start, or from a pipe to its end.
void read_filter(int fd)
{
	if (fd < 0)
		return;
	size_t length = 0;
	ssize_t more;
	do {
		more = read(fd, (char *)instructions + length, sizeof instructions - length);
		length += more > 0 ? (size_t)more : 0;
	} while (more > 0 || (more < 0 && errno == EINTR));
	if (more < 0 || length == 0 || length % sizeof *instructions != 0)
		refuse("the filter of system calls cannot be read");
	count = (unsigned short)(length / sizeof *instructions);
	close(fd);
}

void install_filter(int fd)
{
	struct sock_fprog program = { .len = count, .filter = instructions };
	if (fd >= 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		refuse("the filter of system calls cannot be installed");
}
