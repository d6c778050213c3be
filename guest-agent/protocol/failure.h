// Why a request failed, as in the protocol's `error` frame.
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

// Fills `failure`. The text of an errno is appended to the message. Always returns false, for
// `return fail(...)`.
bool fail(struct failure *failure, enum error_kind kind, int error, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
