// What the parts of the gauge share.
#ifndef GAUGE_H
#define GAUGE_H

#include <stdint.h>

/** Nanoseconds of a clock that only goes forward. */
uint64_t gauge_now(void);

/** Prints a line about the failed call, and exits. */
_Noreturn void gauge_fail(const char *what);

/** Measures one operation, and prints a line. Returns the exit code. */
int gauge_measure(const char *name, uint64_t least_ns);

/** Runs a command in a folder, and prints a line with its time on stderr. Returns the exit code. */
int gauge_run(const char *folder, char **command);

/**
 * Looks at what the sandbox sees and may do, and prints a line for each.
 *
 * @pid: a process of the host, as the host counts
 * @port: of a TCP server on the host's loopback interface
 */
int gauge_probe(const char *pid, const char *port);

#endif
