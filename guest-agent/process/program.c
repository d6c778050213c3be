// The environment and the program of a process, found as Docker finds them.
#include "process/program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { ADDED_VARIABLES = 4 };

enum error_kind program_error_kind(int error)
{
	return error == ENOENT ? ERROR_NOT_FOUND : ERROR_CANNOT_INVOKE;
}

static const char *find_variable(const struct text_list *env, const char *name)
{
	size_t length = strlen(name);

	for (size_t i = env->count; i > 0; i--) {
		const char *variable = env->items[i - 1];

		if (strncmp(variable, name, length) == 0 && variable[length] == '=')
			return variable + length + 1;
	}
	return NULL;
}

static bool add_variable(char **env, size_t *count, const char *name, const char *value)
{
	size_t size = strlen(name) + strlen(value) + 2;
	char *variable = malloc(size);

	if (variable == NULL)
		return false;
	snprintf(variable, size, "%s=%s", name, value);
	env[(*count)++] = variable;
	return true;
}

char **program_environment(const struct process_request *process, const struct user *user)
{
	const struct text_list *given = &process->env;
	char hostname[256] = "";
	char **env = calloc(given->count + ADDED_VARIABLES + 1, sizeof *env);
	size_t count = 0;

	if (env == NULL)
		return NULL;
	gethostname(hostname, sizeof hostname - 1);
	// By the OCI runtimes' custom, an exact process gets nothing but its home.
	if (!process->exact &&
	    ((find_variable(given, "PATH") == NULL && !add_variable(env, &count, "PATH", DEFAULT_PATH)) ||
	     (find_variable(given, "HOSTNAME") == NULL && !add_variable(env, &count, "HOSTNAME", hostname)) ||
	     (process->has_terminal && find_variable(given, "TERM") == NULL &&
	      !add_variable(env, &count, "TERM", "xterm"))))
		return NULL;
	for (size_t i = 0; i < given->count; i++)
		env[count++] = given->items[i];
	if (find_variable(given, "HOME") == NULL && !add_variable(env, &count, "HOME", user->home))
		return NULL;
	return env;
}

static bool is_regular_file(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

static bool is_executable(const char *path)
{
	return is_regular_file(path) && access(path, X_OK) == 0;
}

static bool is_absence(int error)
{
	return error == ENOENT || error == ENOTDIR || error == ENAMETOOLONG || error == ELOOP;
}

// Tries the program in each directory of PATH. It searches like Go's LookPath, which runc and so
// Docker use, and unlike execvp(3): it skips files that are not executable, and never passes a file
// of unknown format to a shell. Returns only on failure.
static bool execute_from_path(char **argv, char **env, const char *path, struct failure *failure)
{
	const char *name = argv[0];

	for (const char *next = path; next != NULL;) {
		const char *end = strchr(next, ':');
		size_t length = end != NULL ? (size_t)(end - next) : strlen(next);
		char file[PATH_MAX];

		if ((size_t)snprintf(file, sizeof file, "%.*s/%s", (int)length, length > 0 ? next : ".", name) <
		    sizeof file) {
			int error;

			execve(file, argv, env);
			error = errno;
			if (error == EACCES ? is_executable(file) : !is_absence(error))
				return fail(failure, ERROR_CANNOT_INVOKE, error, "exec: \"%.200s\"", name);
			if (error == ENOENT && is_regular_file(file))
				return fail(failure, ERROR_NOT_FOUND, ENOENT, "exec: \"%.200s\": its interpreter",
					    file);
		}
		next = end != NULL ? end + 1 : NULL;
	}
	return fail(failure, ERROR_NOT_FOUND, 0, "exec: \"%.200s\": executable file not found in $PATH", name);
}

bool program_execute(char **argv, char **env, struct failure *failure)
{
	const struct text_list variables = { .items = env };
	struct text_list counted = variables;
	struct stat status;

	while (env[counted.count] != NULL)
		counted.count++;
	if (strchr(argv[0], '/') == NULL && argv[0][0] != '\0')
		return execute_from_path(argv, env, find_variable(&counted, "PATH"), failure);
	execve(argv[0], argv, env);
	if (errno == EACCES && stat(argv[0], &status) == 0 && S_ISDIR(status.st_mode))
		return fail(failure, ERROR_CANNOT_INVOKE, EACCES, "exec: \"%.200s\": is a directory", argv[0]);
	return fail(failure, program_error_kind(errno), errno, "exec: \"%.200s\"", argv[0]);
}
