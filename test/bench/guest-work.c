// The driver of `bench -- without-kvm` in a sandbox. It runs tasks one after the other and prints the
// nanoseconds of each, so that the start of the sandbox is not part of them. Arguments: words of a
// task, `--`, words of the next one. `idle` alone says that it runs, and stays.
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile uint64_t result;

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/** A chain of shifts, each of which waits for the one before it. */
static void loop(uint64_t turns)
{
	uint64_t state = 88172645463325252;
	for (uint64_t turn = 0; turn < turns; turn++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
	}
	result = state;
}

static void system_calls(uint64_t count)
{
	for (uint64_t done = 0; done < count; done++)
		syscall(SYS_getppid);
}

/** Returns the exit code. */
static int run(char **command)
{
	pid_t child = fork();
	if (child == 0) {
		execvp(command[0], command);
		perror(command[0]);
		_exit(127);
	}
	int status = 0;
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("fork");
		return 127;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int forks(uint64_t count, char **command)
{
	int code = 0;
	for (uint64_t done = 0; done < count && code == 0; done++)
		code = run(command);
	return code;
}

static int task(char **words)
{
	uint64_t count = words[1] == NULL ? 0 : strtoull(words[1], NULL, 10);
	if (strcmp(words[0], "loop") == 0) {
		loop(count);
		return 0;
	}
	if (strcmp(words[0], "system-calls") == 0) {
		system_calls(count);
		return 0;
	}
	if (strcmp(words[0], "forks") == 0 && words[1] != NULL)
		return forks(count, words + 2);
	return run(words);
}

static void end(int number)
{
	(void)number;
	_exit(0);
}

/** It may be process 1. */
static _Noreturn void idle(void)
{
	signal(SIGTERM, end);
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "idle") == 0)
		idle();
	for (char **words = argv + 1; *words != NULL;) {
		char **next = words;
		while (*next != NULL && strcmp(*next, "--") != 0)
			next++;
		if (*next != NULL)
			*next++ = NULL;
		if (*words == NULL)
			return 2;
		uint64_t start = now();
		int code = task(words);
		printf("\ntsvm-bench %d %llu\n", code, (unsigned long long)(now() - start));
		fflush(stdout);
		words = next;
	}
	return 0;
}
