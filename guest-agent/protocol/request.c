// Decodes requests by the rules of rules.c. Every length, tag and value is checked before it is
// used. PROTOCOL.md, "Fields".
#include "protocol/request.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/rules.h"

// A list of any type: struct text_list and the generated lists have the same members.
struct list {
	void *items;
	size_t count;
	size_t capacity;
};

// A field on the wire.
struct field {
	uint16_t tag;
	uint8_t *value;
	uint32_t length;
};

static bool refuse(struct failure *failure, enum error_kind kind, const struct group_rule *group,
		   const struct field_rule *rule, const char *why)
{
	return fail(failure, kind, 0, "%s: %s %s", group->name, rule->name, why);
}

// Cuts the first field off `bytes`.
static bool take_field(const struct group_rule *group, uint8_t **bytes, size_t *length, struct field *field,
		       struct failure *failure)
{
	const uint8_t *header = *bytes;

	if (*length < FIELD_HEADER_LENGTH)
		return fail(failure, ERROR_BAD_REQUEST, 0, "%s: a field is cut short", group->name);
	field->tag = (uint16_t)(header[0] | header[1] << 8);
	field->length =
		(uint32_t)header[2] | (uint32_t)header[3] << 8 | (uint32_t)header[4] << 16 | (uint32_t)header[5] << 24;
	field->value = *bytes + FIELD_HEADER_LENGTH;
	if (*length - FIELD_HEADER_LENGTH < field->length)
		return fail(failure, ERROR_BAD_REQUEST, 0, "%s: field %u is cut short", group->name, field->tag);
	*bytes += FIELD_HEADER_LENGTH + field->length;
	*length -= FIELD_HEADER_LENGTH + field->length;
	return true;
}

static const struct field_rule *find_rule(const struct group_rule *group, uint16_t tag)
{
	for (size_t i = 0; i < group->count; i++) {
		if (group->fields[i].tag == tag)
			return &group->fields[i];
	}
	return NULL;
}

static void store_integer(void *at, size_t size, uint64_t value)
{
	const uint16_t value16 = (uint16_t)value;
	const uint32_t value32 = (uint32_t)value;

	if (size == sizeof value16)
		memcpy(at, &value16, size);
	else if (size == sizeof value32)
		memcpy(at, &value32, size);
	else
		memcpy(at, &value, sizeof value);
}

static bool decode_integer(const struct group_rule *group, const struct field_rule *rule, const struct field *field,
			   uint64_t min, uint64_t max, uint64_t *value, struct failure *failure)
{
	*value = 0;
	if (field->length != 8)
		return refuse(failure, ERROR_BAD_REQUEST, group, rule, "is not an integer of 8 bytes");
	for (size_t i = 0; i < 8; i++)
		*value |= (uint64_t)field->value[i] << 8 * i;
	if (*value < min || *value > max)
		return refuse(failure, ERROR_BAD_REQUEST, group, rule, "is out of range");
	return true;
}

// Moves the text one byte down, over its own field header. That makes room for its NUL.
static bool decode_text(const struct group_rule *group, const struct field_rule *rule, const struct field *field,
			char **text, struct failure *failure)
{
	*text = (char *)field->value - 1;
	if (field->length > rule->max)
		return refuse(failure, ERROR_BAD_REQUEST, group, rule, "is too long");
	if (memchr(field->value, '\0', field->length) != NULL)
		return refuse(failure, ERROR_BAD_REQUEST, group, rule, "has a NUL byte");
	memmove(*text, field->value, field->length);
	(*text)[field->length] = '\0';
	if (rule->kind == FIELD_PATH && (*text)[0] != '/')
		return refuse(failure, ERROR_BAD_REQUEST, group, rule, "is not an absolute path");
	return true;
}

static bool decode_program(const struct group_rule *group, const struct field_rule *rule, const struct field *field,
			   struct program *program, struct failure *failure)
{
	if (field->length == 0 || field->length % INSTRUCTION_SIZE != 0 ||
	    field->length > MAX_INSTRUCTIONS * INSTRUCTION_SIZE)
		return refuse(failure, ERROR_BAD_REQUEST, group, rule, "is not 1 to 4096 instructions");
	program->instructions = field->value;
	program->count = field->length / INSTRUCTION_SIZE;
	return true;
}

// Appends an item of `size` zero bytes to the list at `at`. Another zero item follows it, so that a
// list of texts ends in NULL. Returns NULL without memory.
static void *append(void *at, size_t size)
{
	struct list list;
	char *item;

	memcpy(&list, at, sizeof list);
	if (list.count + 1 >= list.capacity) {
		size_t capacity = list.capacity == 0 ? 16 : 2 * list.capacity;
		void *items = reallocarray(list.items, capacity, size);

		if (items == NULL)
			return NULL;
		list.items = items;
		list.capacity = capacity;
	}
	item = (char *)list.items + list.count++ * size;
	memset(item, 0, 2 * size);
	memcpy(at, &list, sizeof list);
	return item;
}

static bool decode_group(const struct group_rule *group, void *into, uint8_t *bytes, size_t length,
			 struct failure *failure);

// Decodes one field into `at`: the struct member, or the new item of its list.
static bool decode_value(const struct group_rule *group, const struct field_rule *rule, const struct field *field,
			 void *at, struct failure *failure)
{
	uint64_t value;
	bool flag;
	char *text;

	switch (rule->kind) {
	case FIELD_INTEGER:
		if (!decode_integer(group, rule, field, rule->min, rule->max, &value, failure))
			return false;
		store_integer(at, rule->size, value);
		return true;
	case FIELD_FLAG:
		if (!decode_integer(group, rule, field, 0, 1, &value, failure))
			return false;
		flag = value == 1;
		memcpy(at, &flag, sizeof flag);
		return true;
	case FIELD_TEXT:
	case FIELD_PATH:
		if (!decode_text(group, rule, field, &text, failure))
			return false;
		memcpy(at, &text, sizeof text);
		return true;
	case FIELD_PROGRAM:
		return decode_program(group, rule, field, at, failure);
	case FIELD_GROUP:
		return decode_group(rule->group, at, field->value, field->length, failure);
	}
	return false;
}

static bool decode_field(const struct group_rule *group, const struct field_rule *rule, const struct field *field,
			 void *into, struct failure *failure)
{
	char *at = (char *)into + rule->offset;

	if (rule->repeated) {
		at = append(at, rule->kind == FIELD_GROUP ? rule->group->size : sizeof(char *));
		if (at == NULL)
			return refuse(failure, ERROR_SETUP_FAILED, group, rule, "needs more memory than there is");
	}
	if (rule->given != 0) {
		const bool given = true;

		memcpy((char *)into + rule->given, &given, sizeof given);
	}
	return decode_value(group, rule, field, at, failure);
}

// Sets what absent fields mean. `into` is all zero.
static void preset(const struct group_rule *group, void *into)
{
	for (size_t i = 0; i < group->count; i++) {
		const struct field_rule *rule = &group->fields[i];
		char *at = (char *)into + rule->offset;

		if (rule->preset != 0)
			store_integer(at, rule->size, rule->preset);
		if (rule->preset_text != NULL)
			memcpy(at, &rule->preset_text, sizeof rule->preset_text);
		if (rule->kind == FIELD_GROUP && !rule->repeated)
			preset(rule->group, at);
	}
}

// Decodes the fields of a group into its struct, which is all zero.
static bool decode_group(const struct group_rule *group, void *into, uint8_t *bytes, size_t length,
			 struct failure *failure)
{
	uint32_t seen = 0;

	preset(group, into);
	while (length > 0) {
		const struct field_rule *rule;
		struct field field;
		uint32_t bit;

		if (!take_field(group, &bytes, &length, &field, failure))
			return false;
		rule = find_rule(group, field.tag);
		if (rule == NULL) {
			if (field.tag >= FIRST_OPTIONAL_TAG)
				continue;
			return fail(failure, ERROR_UNSUPPORTED, 0, "%s: field %u is unknown", group->name, field.tag);
		}
		bit = UINT32_C(1) << (rule - group->fields);
		if ((seen & bit) != 0 && !rule->repeated)
			return refuse(failure, ERROR_BAD_REQUEST, group, rule, "is given twice");
		seen |= bit;
		if (!decode_field(group, rule, &field, into, failure))
			return false;
	}
	for (size_t i = 0; i < group->count; i++) {
		if (group->fields[i].required && (seen & UINT32_C(1) << i) == 0)
			return refuse(failure, ERROR_BAD_REQUEST, group, &group->fields[i], "is missing");
	}
	return true;
}

// Frees the lists in a group's struct.
static void free_group(const struct group_rule *group, void *from)
{
	for (size_t i = 0; i < group->count; i++) {
		const struct field_rule *rule = &group->fields[i];
		char *at = (char *)from + rule->offset;
		struct list list;

		if (rule->kind == FIELD_GROUP && !rule->repeated)
			free_group(rule->group, at);
		if (!rule->repeated)
			continue;
		memcpy(&list, at, sizeof list);
		for (size_t item = 0; rule->kind == FIELD_GROUP && item < list.count; item++)
			free_group(rule->group, (char *)list.items + item * rule->group->size);
		free(list.items);
	}
}

static const struct request_rule *find_request(uint16_t type)
{
	for (size_t i = 0; i < request_rule_count; i++) {
		if (request_rules[i].type == type)
			return &request_rules[i];
	}
	return NULL;
}

bool request_decode(struct request *request, uint16_t type, uint8_t *payload, size_t length, struct failure *failure)
{
	const struct request_rule *rule = find_request(type);

	*request = (struct request){ .payload = payload };
	if (rule == NULL)
		return fail(failure, ERROR_UNSUPPORTED, 0, "unknown frame type %u", type);
	request->type = rule->type;
	return decode_group(rule->group, (char *)request + rule->offset, payload, length, failure);
}

void request_free(struct request *request)
{
	const struct request_rule *rule = find_request((uint16_t)request->type);

	if (rule != NULL)
		free_group(rule->group, (char *)request + rule->offset);
	free(request->payload);
}
