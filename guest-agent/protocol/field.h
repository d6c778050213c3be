// Reading the fields of a request's groups. PROTOCOL.md, "Fields". A decoder remembers its first failure and from then on
// reads no more fields, so that the functions for each group need no checks of their own.
#ifndef TSVM_FIELD_H
#define TSVM_FIELD_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/failure.h"
#include "protocol/request.h"

enum {
	MAX_PATH = PATH_MAX - 1,
};

struct decoder {
	struct failure *failure;
	bool failed;
};

// The fields of one group that are still to be read.
struct group {
	const char *name;
	uint8_t *bytes;
	size_t length;
	uint32_t repeated; // tags, one bit each, that may come again
	uint32_t seen;
};

struct field {
	const char *group;
	uint16_t tag;
	uint8_t *value;
	uint32_t length;
};

void refuse_field(struct decoder *decoder, enum error_kind kind, const struct field *field, const char *why);
void refuse_group(struct decoder *decoder, const char *name, const char *why);
bool next_field(struct decoder *decoder, struct group *group, struct field *field);
void unknown_field(struct decoder *decoder, const struct field *field);
void require_field(struct decoder *decoder, const struct group *group, uint16_t tag);
uint64_t field_integer(struct decoder *decoder, const struct field *field, uint64_t min, uint64_t max);
bool field_flag(struct decoder *decoder, const struct field *field);
char *field_text(struct decoder *decoder, const struct field *field, size_t max);
char *field_path(struct decoder *decoder, const struct field *field);
void *field_grow(struct decoder *decoder, const struct field *field, void *items, size_t count, size_t size);
void field_append(struct decoder *decoder, const struct field *field, size_t max, struct text_list *list);
struct group enter_group(const struct field *field, const char *name, uint32_t repeated);

#endif
