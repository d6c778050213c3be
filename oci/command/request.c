// Requests to the keeper that carry an object of JSON.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "oci.h"

enum { MAX_FILE = 4 * 1024 * 1024 - 4096 };

// Returns a stream that was opened, or dies.
static FILE *opened(FILE *stream, const char *what)
{
	if (stream == NULL)
		die("%s: %s", what, strerror(errno));
	return stream;
}

struct request request_open(const char *word)
{
	struct request request = { 0 };

	request.content = calloc(1, sizeof *request.content);
	if (request.content == NULL)
		die("out of memory");
	request.out = opened(open_memstream(&request.content->text, &request.content->length), "the request");
	fprintf(request.out, "%s {", word);
	return request;
}

void request_string(FILE *out, const char *text)
{
	fputc('"', out);
	print_escaped(out, text);
	fputc('"', out);
}

// Line ends are spaces in JSON.
void request_file(FILE *out, const char *path)
{
	const bool is_input = strcmp(path, "-") == 0;
	FILE *in = is_input ? stdin : opened(fopen(path, "re"), path);
	size_t length = 0;

	for (int byte; (byte = fgetc(in)) != EOF; length++) {
		if (length == MAX_FILE)
			die("%s: is too long", path);
		fputc(byte == '\n' || byte == '\r' ? ' ' : byte, out);
	}
	if (ferror(in))
		die("%s: %s", path, strerror(errno));
	if (!is_input)
		fclose(in);
}

int request_send(struct request *request, const char *path)
{
	int keeper;

	fputs("}\n", request->out);
	if (fclose(request->out) != 0)
		die("%s", strerror(errno));
	keeper = connect_to(path);
	for (size_t sent = 0; keeper >= 0 && sent < request->content->length;) {
		ssize_t count =
			send(keeper, request->content->text + sent, request->content->length - sent, MSG_NOSIGNAL);

		if (count < 0)
			break;
		sent += (size_t)count;
	}
	free(request->content->text);
	free(request->content);
	return keeper;
}
