// The environment and the program of a process.
#ifndef TSVM_PROGRAM_H
#define TSVM_PROGRAM_H

#include "process/user.h"
#include "protocol/failure.h"
#include "protocol/protocol.h"

// The given variables and those that Docker sets when they are missing, ended by NULL. NULL without memory.
char **program_environment(const struct process_request *process, const struct user *user);

// Executes argv[0], which is searched for in the PATH of `env` unless it has a slash. Returns false if it cannot be.
bool program_execute(char **argv, char **env, struct failure *failure);

// What an errno for the path of a program or of its working directory is called in the protocol.
enum error_kind program_error_kind(int error);

#endif
