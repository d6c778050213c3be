// A tar archive as it is read from stdin.
#ifndef TSVM_EXTRACT_H
#define TSVM_EXTRACT_H

#include <stdbool.h>

// Makes the files of the archive below the directory `path`. Root owns them, or those whom the
// archive names. Returns false if it fails, after reporting why.
bool extract_archive(const char *path, bool with_owners);

#endif
