// From the kernel's hand-over to a machine in which a container can be made.
#ifndef TSVM_BOOT_H
#define TSVM_BOOT_H

#include <stdbool.h>

// False when the agent is not the first process of a machine but of a pid namespace, to be tested: it then leaves the
// clock and the machine's power alone.
bool boot_is_machine(void);

// Decides the above. The agent must be process 1 either way.
void boot_begin(bool machine);

// Mounts /dev, /proc, /sys, the cgroup tree and a private /run; brings the loopback interface up. Returns false if the
// mounts are not the agent's alone, in a test.
bool boot_mount(void);

#endif
