// Messages on the guest's console, which is the agent's stderr.
#include "base/console.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void console_log(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	dprintf(STDERR_FILENO, "agent: ");
	vdprintf(STDERR_FILENO, format, arguments);
	dprintf(STDERR_FILENO, "\n");
	va_end(arguments);
}
