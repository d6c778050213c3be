// The operations of the processor and of the kernel that are measured.
#include "gauge.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/** The copy of this program that is executed: on a file system in memory, as no level's root is. */
static const char COPY[] = "/tmp/.tsvm-gauge";

enum { PAGE = 4096, PAGES = 256, HASHED = 65536 };

static volatile uint64_t result;

static void cpu(uint64_t turns)
{
	uint64_t state = 88172645463325252;
	for (uint64_t turn = 0; turn < turns * 1000; turn++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
	}
	result = state;
}

static void hash(uint64_t turns)
{
	static unsigned char bytes[HASHED];
	uint32_t state[8] = { 0 };
	for (uint64_t turn = 0; turn < turns; turn++)
		gauge_sha256(state, bytes, sizeof(bytes));
	result = state[0];
}

static void system_call(uint64_t turns)
{
	for (uint64_t turn = 0; turn < turns; turn++)
		syscall(SYS_getppid);
}

static void end_with(pid_t child)
{
	int status;
	if (waitpid(child, &status, 0) != child)
		gauge_fail("waitpid");
	if (status != 0)
		_exit(125);
}

static void fork_exec(uint64_t turns)
{
	for (uint64_t turn = 0; turn < turns; turn++) {
		pid_t child = fork();
		if (child < 0)
			gauge_fail("fork");
		if (child == 0) {
			execl(COPY, COPY, "nothing", (char *)NULL);
			gauge_fail("the copy of the gauge in /tmp does not run");
		}
		end_with(child);
	}
}

/** Copies this program to a file system in memory, so that no mount's speed counts. */
static void copy_self(void)
{
	static char bytes[65536];
	int from = open(GAUGE_SELF, O_RDONLY | O_CLOEXEC);
	int to = open(COPY, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	if (from < 0)
		gauge_fail(GAUGE_SELF);
	if (to < 0)
		gauge_fail(COPY);
	ssize_t count;
	while ((count = read(from, bytes, sizeof(bytes))) > 0)
		if (write(to, bytes, (size_t)count) != count)
			gauge_fail(COPY);
	if (count < 0 || fchmod(to, 0755) != 0)
		gauge_fail(COPY);
	close(from);
	close(to);
}

/** A byte goes to another process and comes back. */
static void context_switch(uint64_t turns)
{
	int there[2];
	int back[2];
	char byte = 0;
	if (pipe(there) != 0 || pipe(back) != 0)
		gauge_fail("pipe");
	pid_t child = fork();
	if (child < 0)
		gauge_fail("fork");
	if (child == 0) {
		close(there[1]);
		close(back[0]);
		while (read(there[0], &byte, 1) == 1)
			if (write(back[1], &byte, 1) != 1)
				break;
		_exit(0);
	}
	close(there[0]);
	close(back[1]);
	for (uint64_t turn = 0; turn < turns; turn++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			gauge_fail("pipe");
	close(there[1]);
	close(back[0]);
	end_with(child);
}

/** The first write to a page of memory. 256 pages at a time are mapped, and unmapped. */
static void page_fault(uint64_t turns)
{
	for (uint64_t left = turns; left > 0;) {
		size_t pages = left < PAGES ? (size_t)left : PAGES;
		char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			gauge_fail("mmap");
		for (size_t page = 0; page < pages; page++)
			*(volatile char *)(memory + page * PAGE) = 1;
		munmap(memory, pages * PAGE);
		left -= pages;
	}
}

/** An operation whose cost is known: it checks the measure itself. */
static void sleep_10ms(uint64_t turns)
{
	struct timespec time = { .tv_nsec = 10000000 };
	for (uint64_t turn = 0; turn < turns; turn++)
		nanosleep(&time, NULL);
}

const struct operation GAUGE_OPERATIONS[] = {
	{ "cpu", cpu, NULL },
	{ "sha256", hash, NULL },
	{ "syscall", system_call, NULL },
	{ "exec", fork_exec, copy_self },
	{ "switch", context_switch, NULL },
	{ "fault", page_fault, NULL },
	{ "sleep", sleep_10ms, NULL },
};
const size_t GAUGE_OPERATION_COUNT = sizeof(GAUGE_OPERATIONS) / sizeof(GAUGE_OPERATIONS[0]);
