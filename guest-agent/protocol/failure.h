// Why a request could not be done, in the terms of the protocol's `error` frame.
#ifndef TSVM_FAILURE_H
#define TSVM_FAILURE_H

#include <stdbool.h>

#include "protocol/protocol.h"

enum { FAILURE_MESSAGE_SIZE = 512 };

struct failure {
	enum error_kind kind;
	int error; // errno, or 0
	char message[FAILURE_MESSAGE_SIZE];
};

// Fills `failure`; with an errno, its text is appended. Always returns false, so that `return fail(...)` reads well.
bool fail(struct failure *failure, enum error_kind kind, int error, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
