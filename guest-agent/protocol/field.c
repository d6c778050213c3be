#include "protocol/field.h"

#include <stdlib.h>
#include <string.h>

void refuse_field(struct decoder *decoder, enum error_kind kind, const struct field *field, const char *why)
{
	if (!decoder->failed)
		fail(decoder->failure, kind, 0, "%s: field %u %s", field->group, field->tag, why);
	decoder->failed = true;
}

void refuse_group(struct decoder *decoder, const char *name, const char *why)
{
	if (!decoder->failed)
		fail(decoder->failure, ERROR_BAD_REQUEST, 0, "%s: %s", name, why);
	decoder->failed = true;
}

// False at the end of the group or after a failure.
bool next_field(struct decoder *decoder, struct group *group, struct field *field)
{
	const uint8_t *header = group->bytes;

	if (decoder->failed || group->length == 0)
		return false;
	field->group = group->name;
	if (group->length < FIELD_HEADER_LENGTH) {
		refuse_group(decoder, group->name, "a field is cut short");
		return false;
	}
	field->tag = (uint16_t)(header[0] | header[1] << 8);
	field->length = (uint32_t)header[2] | (uint32_t)header[3] << 8 | (uint32_t)header[4] << 16 |
			(uint32_t)header[5] << 24;
	field->value = group->bytes + FIELD_HEADER_LENGTH;
	if (group->length - FIELD_HEADER_LENGTH < field->length) {
		refuse_field(decoder, ERROR_BAD_REQUEST, field, "is cut short");
		return false;
	}
	group->bytes += FIELD_HEADER_LENGTH + field->length;
	group->length -= FIELD_HEADER_LENGTH + field->length;

	if (field->tag < 32) {
		uint32_t bit = UINT32_C(1) << field->tag;

		if ((group->seen & bit) != 0 && (group->repeated & bit) == 0) {
			refuse_field(decoder, ERROR_BAD_REQUEST, field, "is given twice");
			return false;
		}
		group->seen |= bit;
	}
	return true;
}

void unknown_field(struct decoder *decoder, const struct field *field)
{
	if (field->tag < FIRST_OPTIONAL_TAG)
		refuse_field(decoder, ERROR_UNSUPPORTED, field, "is unknown");
}

void require_field(struct decoder *decoder, const struct group *group, uint16_t tag)
{
	struct field field = { .group = group->name, .tag = tag };

	if ((group->seen & UINT32_C(1) << tag) == 0)
		refuse_field(decoder, ERROR_BAD_REQUEST, &field, "is missing");
}

uint64_t field_integer(struct decoder *decoder, const struct field *field, uint64_t min, uint64_t max)
{
	uint64_t value = 0;

	if (field->length != 8) {
		refuse_field(decoder, ERROR_BAD_REQUEST, field, "is not an integer of 8 bytes");
		return min;
	}
	for (size_t i = 0; i < 8; i++)
		value |= (uint64_t)field->value[i] << 8 * i;
	if (value < min || value > max) {
		refuse_field(decoder, ERROR_BAD_REQUEST, field, "is out of range");
		return min;
	}
	return value;
}

bool field_flag(struct decoder *decoder, const struct field *field)
{
	return field_integer(decoder, field, 0, 1) == 1;
}

// The string is moved one byte down, over its own field header, which makes room for its NUL.
char *field_text(struct decoder *decoder, const struct field *field, size_t max)
{
	char *string = (char *)field->value - 1;

	if (field->length > max) {
		refuse_field(decoder, ERROR_BAD_REQUEST, field, "is too long");
		return NULL;
	}
	if (memchr(field->value, '\0', field->length) != NULL) {
		refuse_field(decoder, ERROR_BAD_REQUEST, field, "has a NUL byte");
		return NULL;
	}
	memmove(string, field->value, field->length);
	string[field->length] = '\0';
	return string;
}

char *field_path(struct decoder *decoder, const struct field *field)
{
	char *string = field_text(decoder, field, MAX_PATH);

	if (string != NULL && string[0] != '/')
		refuse_field(decoder, ERROR_BAD_REQUEST, field, "is not an absolute path");
	return string;
}

// One more item in an array of `count` items; NULL, and a failure, without memory.
void *field_grow(struct decoder *decoder, const struct field *field, void *items, size_t count, size_t size)
{
	void *grown = reallocarray(items, count + 1, size);

	if (grown == NULL)
		refuse_field(decoder, ERROR_SETUP_FAILED, field, "needs more memory than there is");
	return grown;
}

void field_append(struct decoder *decoder, const struct field *field, size_t max, struct text_list *list)
{
	char *string = field_text(decoder, field, max);

	if (string == NULL)
		return;
	if (list->count + 1 >= list->capacity) {
		size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
		char **items = field_grow(decoder, field, list->items, capacity - 1, sizeof *items);

		if (items == NULL)
			return;
		list->items = items;
		list->capacity = capacity;
	}
	list->items[list->count++] = string;
	list->items[list->count] = NULL;
}

struct group enter_group(const struct field *field, const char *name, uint32_t repeated)
{
	return (struct group){ .name = name, .bytes = field->value, .length = field->length, .repeated = repeated };
}
