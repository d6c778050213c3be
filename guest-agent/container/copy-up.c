// Two processes, one of which writes an archive that the other reads.
#include "container/copy-up.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/files.h"
#include "archive/archive.h"
#include "archive/extract.h"

// The root of the process is the directory, so that no link of the archive leads out of it.
static bool enter(int directory)
{
	return (fchdir(directory) == 0 && chroot(".") == 0) || print_error("chroot");
}

static bool write_archive(int source, int output)
{
	return enter(source) && dup2(output, STDOUT_FILENO) >= 0 && archive_add(AT_FDCWD, ".", "", ARCHIVE_FILES) &&
	       archive_end();
}

static bool read_archive(int target, int input)
{
	struct stat own;

	if (!enter(target) || dup2(input, STDIN_FILENO) < 0 || stat("/", &own) != 0)
		return print_error("/");
	// The archive has the attributes of the other directory, too.
	return extract_archive("/", true) &&
	       ((chown("/", own.st_uid, own.st_gid) == 0 && chmod("/", own.st_mode & 07777) == 0) || print_error("/"));
}

// Starts a process that does one part at its end of the archive. What it reports as an error goes to
// `report`. The other end is not its own: a writer whose reader is gone must notice that.
static pid_t start(bool (*part)(int directory, int end), int directory, int end, int other, int report)
{
	pid_t child = fork();

	if (child == 0) {
		dup2(report, STDERR_FILENO);
		close(other);
		_exit(part(directory, end) ? 0 : 1);
	}
	return child;
}

static bool succeeds(pid_t child)
{
	int status;

	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

// Reads the first line of what the processes report, until both are gone.
static void read_report(int report, char *line, size_t size)
{
	size_t length = 0;
	char rest[64];
	ssize_t count;

	while ((count = read(report, line + length, size - 1 - length)) > 0)
		length += (size_t)count;
	line[length] = '\0';
	line[strcspn(line, "\n")] = '\0';
	while (read(report, rest, sizeof rest) > 0)
		;
}

bool copy_up(int source, int target, const char *path, struct failure *failure)
{
	int archive[2];
	int report[2];
	char line[128];
	pid_t writer;
	pid_t reader;
	bool done;

	if (pipe2(archive, O_CLOEXEC) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "pipe");
	if (pipe2(report, O_CLOEXEC) != 0) {
		close(archive[0]);
		close(archive[1]);
		return fail(failure, ERROR_SETUP_FAILED, errno, "pipe");
	}
	writer = start(write_archive, source, archive[1], archive[0], report[1]);
	reader = start(read_archive, target, archive[0], archive[1], report[1]);
	close(archive[0]);
	close(archive[1]);
	close(report[1]);
	read_report(report[0], line, sizeof line);
	close(report[0]);
	// Both are waited for, whatever the first one says.
	done = succeeds(reader);
	done = succeeds(writer) && done;
	return done || fail(failure, ERROR_SETUP_FAILED, 0, "copy what is in %s: %s", path,
			    line[0] != '\0' ? line : "a process was killed");
}
