// The functions of the host's kernel that processes reach, and those that they start: the function
// tracer (Documentation/trace/ftrace.rst in the kernel's source) in an instance of its own, which
// goes with this program. What interrupts do while such a process runs is not its work, and is left
// out.
#include "gauge.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_CPUS = 1024, PAGE = 4096, LOOK_MS = 20, BUFFER_KB = 16384 };
/** A power of two that is more than a kernel has functions. */
enum { SLOTS = 1 << 18 };

static const char TRACEFS[] = "/sys/kernel/tracing";
static char instance[256];

/** Addresses of the functions, by a hash. */
static uint64_t reached[SLOTS];
static size_t reached_count;

static const char *path_of(const char *name)
{
	static char path[512];
	snprintf(path, sizeof(path), "%s/%s", instance, name);
	return path;
}

static bool set(const char *name, const char *value)
{
	int file = open(path_of(name), O_WRONLY | O_CLOEXEC);
	if (file < 0)
		return false;
	bool done = write(file, value, strlen(value)) == (ssize_t)strlen(value);
	close(file);
	return done;
}

static void need(bool done, const char *what)
{
	if (!done)
		gauge_fail(what);
}

static void remove_instance(void)
{
	set("tracing_on", "0");
	set("current_tracer", "nop");
	rmdir(instance);
}

static void add(uint64_t address)
{
	size_t slot = (size_t)((address * UINT64_C(0x9e3779b97f4a7c15)) >> 46);
	while (reached[slot] != 0 && reached[slot] != address)
		slot = (slot + 1) % SLOTS;
	if (reached[slot] == address || reached_count == SLOTS / 2)
		return;
	reached[slot] = address;
	reached_count++;
}

/** `struct ftrace_entry` (kernel/trace/trace_entries.h in the kernel's source). */
struct entry {
	uint16_t type;
	uint8_t flags;
	uint8_t preempt_count;
	int32_t pid;
	uint64_t function;
	uint64_t caller;
};

/** `TRACE_FN`, and the flags of interrupts, soft interrupts and NMIs. */
enum { FUNCTION = 1, IN_INTERRUPT = 0x08 | 0x10 | 0x40 };

static void add_entry(const unsigned char *bytes, size_t size)
{
	struct entry entry;
	if (size < sizeof(entry))
		return;
	memcpy(&entry, bytes, sizeof(entry));
	if (entry.type == FUNCTION && (entry.flags & IN_INTERRUPT) == 0)
		add(entry.function);
}

static uint32_t word_at(const unsigned char *bytes)
{
	uint32_t word;
	memcpy(&word, bytes, sizeof(word));
	return word;
}

/** A page of the ring buffer (include/linux/ring_buffer.h in the kernel's source). */
static void add_page(const unsigned char *page, size_t got)
{
	enum { HEAD = 16, SIZE_MASK = 0xfffff, PADDING = 29, TIME = 30 };
	if (got < HEAD)
		return;
	size_t end = HEAD + (word_at(page + 8) & SIZE_MASK);
	if (end > got)
		end = got;
	for (size_t at = HEAD; at + 8 <= end;) {
		uint32_t head = word_at(page + at);
		uint32_t kind = head & 31;
		size_t length = 4 + (size_t)kind * 4;
		if (kind >= TIME)
			length = 8;
		else if (kind == PADDING && head >> 5 == 0)
			return;
		else if (kind == PADDING || kind == 0)
			length = 4 + (size_t)word_at(page + at + 4);
		if (length < 4 || at + length > end)
			return;
		if (kind < PADDING)
			add_entry(page + at + (kind == 0 ? 8 : 4), length - (kind == 0 ? 8 : 4));
		at += length;
	}
}

/** Reads what there is. Returns true if there was something. */
static bool drain(const int *files, size_t count)
{
	static unsigned char page[PAGE];
	bool found = false;
	for (size_t index = 0; index < count; index++)
		for (ssize_t got; (got = read(files[index], page, sizeof(page))) > 0; found = true)
			add_page(page, (size_t)got);
	return found;
}

static size_t open_buffers(int *files)
{
	size_t count = 0;
	for (int cpu = 0; cpu < MOST_CPUS; cpu++) {
		char name[64];
		snprintf(name, sizeof(name), "per_cpu/cpu%d/trace_pipe_raw", cpu);
		int file = open(path_of(name), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (file >= 0)
			files[count++] = file;
	}
	return count;
}

/** Entries that no one has read in time. */
static unsigned long long lost_entries(void)
{
	unsigned long long lost = 0;
	for (int cpu = 0; cpu < MOST_CPUS; cpu++) {
		char name[64];
		char line[128];
		snprintf(name, sizeof(name), "per_cpu/cpu%d/stats", cpu);
		FILE *file = fopen(path_of(name), "re");
		if (file == NULL)
			continue;
		unsigned long long count;
		while (fgets(line, sizeof(line), file) != NULL)
			if (sscanf(line, "overrun: %llu", &count) == 1)
				lost += count;
		fclose(file);
	}
	return lost;
}

static int compare_addresses(const void *one, const void *other)
{
	uint64_t a = *(const uint64_t *)one;
	uint64_t b = *(const uint64_t *)other;
	return (a > b) - (a < b);
}

struct symbol {
	/** The first member, for `compare_addresses`. */
	uint64_t address;
	char *name;
};

/** The kernel's functions, those of its modules too, by their addresses. */
static struct symbol *read_symbols(size_t *count)
{
	struct symbol *symbols = NULL;
	size_t room = 0;
	FILE *file = fopen("/proc/kallsyms", "re");
	need(file != NULL, "/proc/kallsyms");
	char line[1024];
	*count = 0;
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		unsigned long long address;
		char kind;
		char name[512];
		if (sscanf(line, "%llx %c %511s", &address, &kind, name) != 3 || strchr("tTwW", kind) == NULL)
			continue;
		if (*count == room) {
			room = room == 0 ? 1 << 16 : room * 2;
			struct symbol *more = reallocarray(symbols, room, sizeof(*symbols));
			need(more != NULL, "memory");
			symbols = more;
		}
		symbols[*count] = (struct symbol){ .address = address, .name = strdup(name) };
		need(symbols[(*count)++].name != NULL, "memory");
	}
	if (file != NULL)
		fclose(file);
	// The symbols of one module follow those of another, wherever the modules are.
	if (*count > 0)
		qsort(symbols, *count, sizeof(*symbols), compare_addresses);
	return symbols;
}

/** Prints the name of each function: the last symbol that is not after it. */
static void print_names(void)
{
	static uint64_t sorted[SLOTS / 2];
	size_t count = 0;
	for (size_t slot = 0; slot < SLOTS; slot++)
		if (reached[slot] != 0)
			sorted[count++] = reached[slot];
	qsort(sorted, count, sizeof(sorted[0]), compare_addresses);
	size_t symbol_count;
	struct symbol *symbols = read_symbols(&symbol_count);
	for (size_t index = 0, next = 0; index < count; index++) {
		while (next < symbol_count && symbols[next].address <= sorted[index])
			next++;
		if (next > 0)
			printf("%s\n", symbols[next - 1].name);
	}
	for (size_t index = 0; index < symbol_count; index++)
		free(symbols[index].name);
	free(symbols);
}

int gauge_reached(const char *name, char **threads)
{
	static int files[MOST_CPUS];
	char value[32];
	// The host's mounts stay as they are.
	need(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "unshare");
	need(mount("tracefs", TRACEFS, "tracefs", 0, NULL) == 0 || errno == EBUSY, "tracefs");
	snprintf(instance, sizeof(instance), "%s/instances/%s", TRACEFS, name);
	need(mkdir(instance, 0700) == 0, "an instance of tracefs");
	atexit(remove_instance);
	snprintf(value, sizeof(value), "%d", BUFFER_KB);
	need(set("buffer_size_kb", value), "buffer_size_kb");
	need(set("options/function-fork", "1"), "function-fork");
	// It adds to those before if the file is not truncated.
	for (char **thread = threads; *thread != NULL; thread++)
		need(set("set_ftrace_pid", *thread), "set_ftrace_pid");
	need(set("current_tracer", "function"), "the function tracer");
	size_t count = open_buffers(files);
	puts("ready");
	fflush(stdout);
	struct pollfd end = { .fd = STDIN_FILENO, .events = POLLIN };
	while (poll(&end, 1, drain(files, count) ? 0 : LOOK_MS) == 0)
		;
	set("tracing_on", "0");
	while (drain(files, count))
		;
	printf("lost %llu\n", lost_entries());
	print_names();
	for (size_t index = 0; index < count; index++)
		close(files[index]);
	return 0;
}
