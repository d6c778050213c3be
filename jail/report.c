// What the launcher says: why it ends, and in one line of JSON what the jail reached.
#include "jail.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void reason_set(struct reason *reason, const char *what)
{
	snprintf(reason->text, sizeof reason->text, "%s: %s", what, strerror(errno));
}

_Noreturn void refuse(const char *what)
{
	fprintf(stderr, "tsvm-jail: %s\n", what);
	_exit(EXIT_LAUNCHER);
}

// A part and what reaches it: `"files":"namespace"`; or `"files":null`, and a reason under `missing`.
static void part(FILE *out, const char *name, const char *how)
{
	if (how == NULL)
		fprintf(out, "\"%s\":null,", name);
	else
		fprintf(out, "\"%s\":\"%s\",", name, how);
}

void write_report(const struct jail_spec *spec, const struct jail_report *report)
{
	if (spec->report < 0)
		return;
	FILE *out = fdopen(spec->report, "w");
	if (out == NULL)
		refuse("the report cannot be written");
	const char *namespace = report->has_namespaces ? "namespace" : NULL;
	const char *scope = report->landlock_scope ? "landlock" : NULL;
	fputc('{', out);
	part(out, "files", namespace != NULL ? namespace : report->landlock_files ? "landlock" : NULL);
	part(out, "network",
	     report->has_network_namespace ? "namespace" :
	     report->landlock_network      ? "landlock" :
					     NULL);
	part(out, "processes", namespace != NULL ? namespace : scope);
	part(out, "sockets", report->has_network_namespace ? "namespace" : scope);
	part(out, "ipc", namespace);
	fprintf(out, "\"pid\":%d,\"uid\":%u,", report->pid, getuid());
	if (report->no_user.text[0] != 0)
		fprintf(out, "\"noUser\":\"%s\",", report->no_user.text);
	fprintf(out, "\"user\":%s,\"landlock\":%d", report->has_user_namespace ? "true" : "false", report->landlock);
	if (report->no_namespaces.text[0] != 0)
		fprintf(out, ",\"noNamespaces\":\"%s\"", report->no_namespaces.text);
	else if (report->no_network_namespace.text[0] != 0)
		fprintf(out, ",\"noNamespaces\":\"%s\"", report->no_network_namespace.text);
	if (report->no_landlock.text[0] != 0)
		fprintf(out, ",\"noLandlock\":\"%s\"", report->no_landlock.text);
	fputs("}\n", out);
	if (fclose(out) != 0)
		refuse("the report cannot be written");
}
