// The environment and the program of a process.
#ifndef TSVM_PROGRAM_H
#define TSVM_PROGRAM_H

#include "process/user.h"
#include "protocol/failure.h"
#include "protocol/protocol.h"

// Returns the given variables and those that Docker adds if they are missing. Returns NULL without
// memory.
char **program_environment(const struct process_request *process, const struct user *user);

// Executes argv[0]. Searches the PATH of `env` for it unless it has a slash. Returns only on
// failure.
bool program_execute(char **argv, char **env, struct failure *failure);

// The error kind for an errno of execve(2) or chdir(2).
enum error_kind program_error_kind(int error);

#endif
