// The rules of the decoder: tables, generated from table.mjs, that request.c walks.
#ifndef TSVM_RULES_H
#define TSVM_RULES_H

#include "protocol/protocol.h"

enum field_kind {
	FIELD_INTEGER, // `size` bytes in the struct
	FIELD_FLAG,    // bool
	FIELD_TEXT,    // const char *, or struct text_list if repeated
	FIELD_PATH,    // as FIELD_TEXT; must be absolute
	FIELD_PROGRAM, // struct program
	FIELD_GROUP,   // the group's struct, or a list of them if repeated
};

struct field_rule {
	const char *name;
	const struct group_rule *group;
	const char *preset_text;
	uint64_t preset;
	uint64_t min;
	uint64_t max; // of an integer; bytes of a text
	size_t offset;
	size_t given; // of a bool that says whether an optional group is present; 0: there is none
	size_t size;
	enum field_kind kind;
	uint16_t tag;
	bool required;
	bool repeated;
};

struct group_rule {
	const char *name;
	size_t size; // of the struct
	const struct field_rule *fields;
	size_t count; // at most 32
};

struct request_rule {
	enum frame_type type;
	const struct group_rule *group;
	size_t offset; // in struct request
};

extern const struct request_rule request_rules[];
extern const size_t request_rule_count;

#endif
