// From the start by the kernel to a machine that can be set up.
#ifndef TSVM_BOOT_H
#define TSVM_BOOT_H

#include <stdbool.h>

// Returns false in tests, where the agent is the first process of a pid namespace, not of a
// machine. The agent then leaves the clock and the machine's power alone.
bool boot_is_machine(void);

// Sets what boot_is_machine() returns. The agent must be process 1 either way.
void boot_begin(bool machine);

// Mounts /dev, /proc, /sys, the cgroup tree and a private /run, and brings the loopback interface
// up. Returns false if, in a test, the mounts cannot be separated from those of the host.
bool boot_mount(void);

#endif
