// Pseudo-terminals. The slave is opened through its master, because the container could have
// changed its name.
#include "process/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/linux.h"

bool terminal_open(uint16_t columns, uint16_t rows, int *master, int *slave, struct failure *failure)
{
	int unlock = 0;

	*master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*master < 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "open a terminal");
	if (ioctl(*master, TIOCSPTLCK, &unlock) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "unlock the terminal");
	*slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*slave < 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "open the terminal's other side");
	return terminal_resize(*master, columns, rows, failure);
}

bool terminal_bind_console(int master, struct failure *failure)
{
	char name[32];
	int number;
	int console;

	if (ioctl(master, (int)TIOCGPTN, &number) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "number of the terminal");
	snprintf(name, sizeof name, "/dev/pts/%d", number);
	console = open("/dev/console", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (console < 0 || mount(name, "/dev/console", NULL, MS_BIND, NULL) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "/dev/console");
	close(console);
	return true;
}

bool terminal_resize(int master, uint16_t columns, uint16_t rows, struct failure *failure)
{
	const struct winsize size = { .ws_col = columns, .ws_row = rows };

	return ioctl(master, TIOCSWINSZ, &size) == 0 || fail(failure, ERROR_SETUP_FAILED, errno, "resize the terminal");
}
