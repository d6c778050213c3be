// Looks at the filters of system calls (seccomp(2)) of a process of the host. It runs on the host, as
// root: the kernel shows filters to a tracer with CAP_SYS_ADMIN that has no filter itself.
#include "gauge.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONGEST = 4096, SYSCALLS = 512 };

/** True if a thread has ended, and nobody has asked how. */
static bool is_zombie(pid_t pid)
{
	char path[64];
	char line[256];
	char state = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return false;
	while (state == 0 && fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "State: %c", &state) != 1)
			state = 0;
	}
	fclose(file);
	return state == 'Z' || state == 'X';
}

/** Fails, but for a thread that has ended. */
static _Noreturn void fail_unless_gone(pid_t pid, const char *what)
{
	int error = errno;
	if (error == ESRCH || is_zombie(pid))
		exit(GAUGE_GONE);
	errno = error;
	gauge_fail(what);
}

/**
 * Stops a thread and waits for the stop. One that ends meanwhile stops too. A signal that comes first
 * stops it as well: the thread gets it, or a timer of its own would be lost.
 */
static void seize(pid_t pid)
{
	int status;
	long signal = 0;
	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)PTRACE_O_TRACEEXIT) != 0)
		fail_unless_gone(pid, "ptrace");
	for (;;) {
		// Any stop may take a pending one's place, so it is asked for again.
		if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) != 0)
			fail_unless_gone(pid, "ptrace");
		if (signal != 0 && ptrace(PTRACE_CONT, pid, NULL, (void *)signal) != 0)
			fail_unless_gone(pid, "ptrace");
		if (waitpid(pid, &status, __WALL) != pid)
			gauge_fail("waitpid");
		if (!WIFSTOPPED(status))
			exit(GAUGE_GONE);
		// The stop that was asked for, and that of an end, are events.
		if (status >> 16 != 0)
			return;
		signal = WSTOPSIG(status);
	}
}

/** True if a thread has a filter, or a mode that lets few calls through; also if it does not say. */
static bool has_filter(pid_t pid)
{
	char path[64];
	char line[256];
	bool found = false;
	int error = errno;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return true;
	while (fgets(line, sizeof(line), file) != NULL) {
		int mode;
		if (sscanf(line, "Seccomp: %d", &mode) == 1 && mode != 0)
			found = true;
	}
	fclose(file);
	errno = error;
	return found;
}

/** Prints a line for each filter of a thread: its instructions in hexadecimal digits. */
int gauge_filters(pid_t pid)
{
	static struct sock_filter code[LONGEST];
	seize(pid);
	for (long index = 0;; index++) {
		long length = ptrace(PTRACE_SECCOMP_GET_FILTER, pid, (void *)index, code);
		if (length < 0) {
			// The filters have been printed, or there is none.
			if (errno == ENOENT || (index == 0 && errno == EINVAL && !has_filter(pid)))
				break;
			if (errno == EACCES) {
				fputs("the kernel shows filters to root alone, and to no process that has one itself: "
				      "run tsvm compare as root, outside of containers\n",
				      stderr);
				exit(GAUGE_FAILED);
			}
			// A kernel without CHECKPOINT_RESTORE says of each thread that it has none.
			if (errno == EINVAL)
				errno = ENOSYS;
			fail_unless_gone(pid, "PTRACE_SECCOMP_GET_FILTER");
		}
		for (long at = 0; at < length; at++)
			printf("%04x%02x%02x%08x", code[at].code, code[at].jt, code[at].jf, code[at].k);
		putchar('\n');
	}
	// Its end would also let the thread go.
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	return 0;
}

static int nibble(char digit)
{
	return digit <= '9' ? digit - '0' : digit - 'a' + 10;
}

static uint32_t number(const char *digits, int count)
{
	uint32_t value = 0;
	for (int at = 0; at < count; at++)
		value = value << 4 | (uint32_t)nibble(digits[at]);
	return value;
}

/** Reads what gauge_filters() printed. */
static struct sock_fprog decode(const char *text)
{
	static struct sock_filter code[LONGEST];
	size_t length = strlen(text) / 16;
	if (length == 0 || length > LONGEST || strspn(text, "0123456789abcdef") != length * 16) {
		errno = EINVAL;
		gauge_fail("the filter");
	}
	for (size_t at = 0; at < length; at++, text += 16) {
		code[at] = (struct sock_filter){ .code = (uint16_t)number(text, 4),
						 .jt = (uint8_t)number(text + 4, 2),
						 .jf = (uint8_t)number(text + 6, 2),
						 .k = number(text + 8, 8) };
	}
	return (struct sock_fprog){ .len = (unsigned short)length, .filter = code };
}

/**
 * Installs two filters. The first hands each call to the tracer, other than the one that installs the
 * second. The kernel takes the answer that is worse for the caller: so the tracer sees what the second
 * filter allows.
 */
static void install(const struct sock_fprog *tried)
{
	static struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SECCOMP_SET_MODE_FILTER, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog first = { .len = sizeof(code) / sizeof(code[0]), .filter = code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &first) != 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, tried) != 0)
		gauge_fail("seccomp");
}

int gauge_within(const char *text, char **command)
{
	struct sock_fprog filter = decode(text);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
		gauge_fail("seccomp");
	execv(command[0], command);
	gauge_fail(command[0]);
}

/** Makes each call from `first` on, and stops after each. All arguments are 0. */
static _Noreturn void call_all(long first, const struct sock_fprog *tried)
{
	raise(SIGSTOP);
	install(tried);
	for (long call = first;; call++)
		__asm__ volatile("xor %%edi, %%edi\n\txor %%esi, %%esi\n\txor %%edx, %%edx\n\txor %%r10d, %%r10d\n\t"
				 "xor %%r8d, %%r8d\n\txor %%r9d, %%r9d\n\tsyscall\n\tint3"
				 :
				 : "a"(call)
				 : "rcx", "r11", "rdi", "rsi", "rdx", "r8", "r9", "r10", "memory");
}

/**
 * Tries calls from `first` on, until one ends the process that makes them.
 * @allowed: gets what the filter lets through
 * Returns the first number that was not tried.
 */
static long try_from(long first, const struct sock_fprog *tried, bool allowed[SYSCALLS])
{
	pid_t parent = getpid();
	pid_t child = fork();
	int status;
	if (child < 0)
		gauge_fail("fork");
	if (child == 0) {
		// A stopped process does not notice that its tracer was killed.
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		call_all(first, tried);
	}
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		gauge_fail("waitpid");
	ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL);
	long call = first;
	while (call < SYSCALLS) {
		ptrace(PTRACE_CONT, child, NULL, NULL);
		if (waitpid(child, &status, 0) != child)
			gauge_fail("waitpid");
		if (!WIFSTOPPED(status)) {
			if (WIFEXITED(status)) {
				errno = EINVAL;
				gauge_fail("the filter");
			}
			// The filter has ended it.
			return call + 1;
		}
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8)) {
			struct user_regs_struct registers;
			ptrace(PTRACE_GETREGS, child, NULL, &registers);
			if ((long)registers.orig_rax == call)
				allowed[call] = true;
			// The call is left out.
			registers.orig_rax = (unsigned long long)-1;
			ptrace(PTRACE_SETREGS, child, NULL, &registers);
		} else if (WSTOPSIG(status) == SIGTRAP) {
			call++;
		}
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return call;
}

/** Prints the numbers of the calls that a filter lets through. None of them is made. */
int gauge_try(const char *text)
{
	struct sock_fprog tried = decode(text);
	bool allowed[SYSCALLS] = { false };
	for (long call = 0; call < SYSCALLS;)
		call = try_from(call, &tried, allowed);
	for (int call = 0; call < SYSCALLS; call++)
		if (allowed[call])
			printf("%d\n", call);
	return 0;
}
