// How a probe tells what it found, and tries what it must not keep.
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void probe_tell(const char *name, bool open)
{
	printf("%s %s %s\n", name, open ? "open" : "closed", open ? "" : strerror(errno));
}

void probe_tell_value(const char *name, const char *value)
{
	printf("%s = %s\n", name, value);
}

void probe_tell_file(const char *name, const char *path)
{
	char text[256] = "";
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t length = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
	if (length > 0)
		text[strcspn(text, "\n")] = '\0';
	probe_tell_value(name, length > 0 ? text : "");
	probe_close(file);
}

bool probe_close(long file)
{
	if (file < 0)
		return false;
	close((int)file);
	return true;
}

bool probe_opens(const char *path, int flags)
{
	return probe_close(open(path, flags | O_CLOEXEC | O_NONBLOCK));
}

bool probe_in_child(bool (*act)(void))
{
	// What is buffered would be written twice.
	fflush(stdout);
	pid_t child = fork();
	if (child < 0)
		return false;
	if (child == 0)
		_exit(act() ? 0 : errno);
	int status;
	while (waitpid(child, &status, 0) != child)
		if (errno != EINTR)
			return false;
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
	return errno == 0;
}
