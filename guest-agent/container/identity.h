// What tells this machine from one that runs from a copy of its memory: files of the agent, which
// containers see. All functions but the setters are called in a container's directory.
#ifndef TSVM_IDENTITY_H
#define TSVM_IDENTITY_H

#include "protocol/failure.h"

// The files in a container's directory. The last two exist only in a cloned machine.
#define IDENTITY_FOLDER "tsvm"
#define IDENTITY_GENERATION IDENTITY_FOLDER "/generation"
#define IDENTITY_BOOT_ID "boot-id"
#define IDENTITY_MACHINE_ID "machine-id"

// Where a container has its boot_id.
#define KERNEL_BOOT_ID "/proc/sys/kernel/random/boot_id"

// Sets the machine's generation, a UUID. Without one the machine draws its own.
void identity_set_generation(const char *generation);
// Sets what containers see in place of the kernel's boot_id.
void identity_set_boot_id(const char *boot_id);

// Writes the generation. Its file keeps its inode, so watchers see a change.
bool identity_write_generation(struct failure *failure);
// Writes the boot_id that was set.
bool identity_write_boot_id(struct failure *failure);
// Writes one line, over one of the same length.
bool identity_write_line(const char *name, const char *text, struct failure *failure);

// Writes the files of a new container.
bool identity_write_files(struct failure *failure);
void identity_remove_files(void);

// Mounts the files in the root of a new container: the generation at /dev/tsvm.
bool identity_mount(int root, struct failure *failure);

#endif
