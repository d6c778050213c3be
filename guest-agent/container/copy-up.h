// What a directory of the image contains, copied into a tmpfs that is mounted over it (podman's
// `tmpcopyup`).
#ifndef TSVM_COPY_UP_H
#define TSVM_COPY_UP_H

#include <stdbool.h>

#include "protocol/failure.h"

// Copies all that is below the directory `source` into the empty directory `target`, with owners,
// modes, times, links and extended attributes. `path` names them in errors. Called in the first
// process of a container, before its program.
bool copy_up(int source, int target, const char *path, struct failure *failure);

#endif
