// What the probes share.
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>

/** What the gauge is told of the host. */
struct host {
	/** A process, as the host counts. */
	const char *pid;
	/** Of a TCP server on the host's loopback interface, and on one more of its addresses. */
	const char *port;
	/** That address, or `-`. */
	const char *address;
	/** A name that the host's processes, abstract sockets and folders have in theirs. */
	const char *name;
};

/** Prints `NAME open` or `NAME closed`, and why: errno. */
void probe_tell(const char *name, bool open);

/** Prints `NAME = VALUE`. The host compares the value with its own. */
void probe_tell_value(const char *name, const char *value);

/** The same with the first line of a file. */
void probe_tell_file(const char *name, const char *path);

/** Closes a descriptor. Returns false if it is none. */
bool probe_close(long file);

/** Returns true if the path opens. */
bool probe_opens(const char *path, int flags);

/** Returns what `act` returns in a child, whose end undoes it. */
bool probe_in_child(bool (*act)(void));

/** What it sees of the host. */
void probe_sights(const struct host *host);

/** What it reaches beside the kernel. */
void probe_reach(const struct host *host);

/** What it can change. */
void probe_changes(void);

/** Doors of the kernel. */
void probe_doors(void);

/** Side channels, and resources that it shares with a neighbour. */
void probe_shared(void);

#endif
