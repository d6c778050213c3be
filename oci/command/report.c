// Errors and warnings, where engines read them: one line of JSON in the log, and text on standard error.
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "oci.h"

static struct options report;
static int exit_code = 1;

void report_to(const struct options *options)
{
	report = *options;
}

void report_code(int code)
{
	exit_code = code;
}

void print_escaped(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		const unsigned char byte = (unsigned char)*text;

		if (byte == '"' || byte == '\\')
			fprintf(out, "\\%c", byte);
		else if (byte < 0x20)
			fprintf(out, "\\u%04x", byte);
		else
			fputc(byte, out);
	}
}

static void print_to_log(const char *level, const char *text)
{
	const time_t now = time(NULL);
	int file = open(report.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	FILE *log = file < 0 ? NULL : fdopen(file, "a");
	struct tm broken;
	char stamp[32];

	if (log == NULL)
		return;
	strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &broken));
	fprintf(log, report.json ? "{\"level\":\"%s\",\"msg\":\"" : "level=%s msg=\"", level);
	print_escaped(log, text);
	fprintf(log, report.json ? "\",\"time\":\"%s\"}\n" : "\" time=\"%s\"\n", stamp);
	fclose(log);
}

void warn(const char *text)
{
	if (report.log != NULL)
		print_to_log("warning", text);
	fprintf(stderr, "%s\n", text);
}

void die(const char *format, ...)
{
	char text[MAX_LINE];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (report.log != NULL)
		print_to_log("error", text);
	fprintf(stderr, "%s\n", text);
	exit(exit_code);
}
