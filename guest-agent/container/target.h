// Mount points in the image's file system, where no name can be trusted.
#ifndef TSVM_TARGET_H
#define TSVM_TARGET_H

#include "protocol/failure.h"

enum target_kind {
	TARGET_DIRECTORY,
	TARGET_FILE,
};

// Opens (O_PATH) what `path` means to a process whose root directory is `root`. Symbolic links,
// absolute ones too, stay inside. Makes missing directories (0755), and a missing file (0644).
// Returns -1 on failure.
int target_open(int root, const char *path, enum target_kind kind, struct failure *failure);

// Opens (O_PATH) the directory that `path` means. Returns -1 if there is none.
int target_find(int root, const char *path);

// As mount(2), on what target_open() opens.
bool target_mount(int root, const char *path, enum target_kind kind, const char *source, const char *type,
		  unsigned long flags, const char *options, struct failure *failure);

#endif
