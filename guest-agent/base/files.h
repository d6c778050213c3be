// What the agent's own file programs share.
#ifndef TSVM_FILES_H
#define TSVM_FILES_H

#include <dirent.h>
#include <stdbool.h>

// Prints `what` and the text of errno to stderr. Returns false.
bool print_error(const char *what);

// Returns the next entry of a directory other than "." and "..". Returns NULL at the end, with
// errno 0, and on an error.
struct dirent *next_entry(DIR *directory);

#endif
