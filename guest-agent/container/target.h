// Places in a root file system that the image made, and in which no name can be trusted.
#ifndef TSVM_TARGET_H
#define TSVM_TARGET_H

#include "protocol/failure.h"

enum target_kind {
	TARGET_DIRECTORY,
	TARGET_FILE,
};

// Opens (O_PATH) what `path` means to a process whose root directory is `root`: symbolic links, absolute ones too, stay
// within. Missing directories are made (0755), and a missing file (0644). -1 on failure.
int target_open(int root, const char *path, enum target_kind kind, struct failure *failure);

// As mount(2), onto target_open()'s place.
bool target_mount(int root, const char *path, enum target_kind kind, const char *source, const char *type,
		  unsigned long flags, const char *options, struct failure *failure);

#endif
