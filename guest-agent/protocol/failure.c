// Failures: a kind, an errno and a sentence.
#include "protocol/failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool fail(struct failure *failure, enum error_kind kind, int error, const char *format, ...)
{
	va_list arguments;
	int length;

	failure->kind = kind;
	failure->error = error;
	va_start(arguments, format);
	length = vsnprintf(failure->message, sizeof failure->message, format, arguments);
	va_end(arguments);
	if (length < 0)
		failure->message[0] = '\0';
	if (error != 0) {
		size_t used = strlen(failure->message);
		snprintf(failure->message + used, sizeof failure->message - used, ": %s", strerror(error));
	}
	return false;
}
