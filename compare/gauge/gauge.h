// What the parts of the gauge share.
#ifndef GAUGE_H
#define GAUGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** An operation that is measured. */
struct operation {
	const char *name;
	/** Does it so many times. */
	void (*turns)(uint64_t turns);
	/** Makes what it needs. May be NULL. */
	void (*prepare)(void);
};

/** Of the processor and the kernel: operations.c. */
extern const struct operation GAUGE_OPERATIONS[];
extern const size_t GAUGE_OPERATION_COUNT;
/** Of files: files.c. */
extern const struct operation GAUGE_FILE_OPERATIONS[];
extern const size_t GAUGE_FILE_OPERATION_COUNT;

/** Of TCP: tcp.c. */
extern const struct operation GAUGE_TCP_OPERATIONS[];
extern const size_t GAUGE_TCP_OPERATION_COUNT;

/** Where the host answers (gauge_tcp_host()), for the operations of TCP. */
extern const char *gauge_address;
extern uint16_t gauge_port;

/**
 * Answers the operations of TCP at an address, and prints `ready` with the port. Returns the exit code
 * when its stdin ends.
 */
int gauge_tcp_host(const char *address);

/** Where this program finds itself. */
#define GAUGE_SELF "/proc/self/exe"

/** The exit code of a gauge that fails. */
enum { GAUGE_FAILED = 125 };

/** Nanoseconds of a clock that only goes forward. */
uint64_t gauge_now(void);

/** The operation that this process measures, or NULL. */
extern const char *gauge_operation;

/** Prints a line about the failed call, and exits. */
_Noreturn void gauge_fail(const char *what);

/** Hashes bytes, whose number is a multiple of 64 (FIPS 180-4, without the padding of the end). */
void gauge_sha256(uint32_t state[8], const unsigned char *bytes, size_t length);

/**
 * Measures operations, each in a process of its own, and prints a line for each.
 *
 * @folder: a folder of the host, where the sandbox may write
 */
int gauge_measure(uint64_t least_ns, const char *folder, char **names);

/** The folder that gauge_measure() was given. */
extern const char *gauge_folder;

/** Runs a command in a folder, and prints a line with its time on stderr. Returns the exit code. */
int gauge_run(const char *folder, char **command);

/**
 * Starts a command, and runs others that it is asked for. Does not return.
 *
 * @channel: `unix:PATH`, `vsock:PORT`, or `port:NAME` of a virtio console
 */
int gauge_serve(const char *channel, char **command);

/**
 * Has a gauge that serves run a command. Returns its exit code.
 *
 * @port: of vsock, if the socket speaks for one; else `0`
 */
int gauge_ask(const char *path, const char *port, char **command);

/**
 * Looks at what the sandbox sees and may do, and prints a line for each.
 *
 * @words: a process of the host, as the host counts; the port of a TCP server on the host's loopback
 * interface, and one more address of it or `-`; a name that abstract sockets and paths of the host have
 */
int gauge_probe(char **words);

/** The exit code of gauge_filters() for a thread that has ended. */
enum { GAUGE_GONE = 124 };

/** Prints the filters of a thread of the host. Returns the exit code. */
int gauge_filters(pid_t pid);

/** Prints what a filter lets through, as gauge_filters() has printed it. Returns the exit code. */
int gauge_try(const char *text);

/** Runs a command below a filter. Returns only if it cannot. */
int gauge_within(const char *text, char **command);

/** True if this is the first process of a virtual machine (init.c). */
bool gauge_is_init(void);

/** Makes the machine's root, and serves in it. The machine ends if that fails. */
_Noreturn void gauge_init(void);

/** Makes the file `go` in a folder, for gauge_work(). Returns the exit code. */
int gauge_go(const char *folder);

/**
 * Traces threads of the host and what they start, until its stdin ends. Then it prints `lost` with the
 * number of entries that were lost, and the name of each function that was reached. Returns the exit
 * code.
 *
 * @name: of an instance of tracefs, which no other has
 */
int gauge_reached(const char *name, char **threads);

/**
 * Waits for the file `go` in a folder, removes it, does each operation the same number of times, and
 * prints `done` with the number of times that it has done so; and waits again. So the calls that it makes at two levels can be compared.
 */
_Noreturn void gauge_work(const char *folder, char **names);

#endif
