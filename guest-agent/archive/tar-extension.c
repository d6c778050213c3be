#include "archive/tar-extension.h"

#include <stdlib.h>
#include <string.h>

#include "archive/tar-number.h"

enum {
	MAX_XATTR_NAME = 255, // the kernel's XATTR_NAME_MAX
};

// A pax record: "LENGTH KEY=VALUE\n", where LENGTH counts the whole record. Nothing is terminated.
struct record {
	const char *key;
	size_t key_length;
	const char *value;
	size_t value_length;
	size_t size;
};

static bool parse_record(const char *text, size_t length, struct record *record)
{
	const char *space = memchr(text, ' ', length);
	uint64_t size;
	const char *equals;

	if (space == NULL || !tar_parse_decimal(text, (size_t)(space - text), length, &size))
		return false;
	record->size = (size_t)size;
	record->key = space + 1;
	// The shortest record is "5 k=\n".
	if (size < 5 || space >= text + size - 1 || text[size - 1] != '\n')
		return false;
	equals = memchr(record->key, '=', (size_t)(text + size - 1 - record->key));
	if (equals == NULL || equals == record->key)
		return false;
	record->key_length = (size_t)(equals - record->key);
	record->value = equals + 1;
	record->value_length = (size_t)(text + size - 1 - record->value);
	return true;
}

static bool is_key(const struct record *record, const char *key)
{
	return record->key_length == strlen(key) && memcmp(record->key, key, record->key_length) == 0;
}

// Refuses a name that is too long or has a NUL: cut short, it would name another file.
static bool take_name(const char *text, size_t length, char *name, bool *has)
{
	if (length >= PATH_MAX || memchr(text, '\0', length) != NULL)
		return false;
	memcpy(name, text, length);
	name[length] = '\0';
	*has = true;
	return true;
}

static bool take_id(const struct record *record, uint32_t *id, bool *has)
{
	uint64_t value;

	if (!tar_parse_decimal(record->value, record->value_length, UINT32_MAX, &value))
		return false;
	*id = (uint32_t)value;
	*has = true;
	return true;
}

static bool take_record(struct tar_extension *extension, const struct record *record)
{
	// An empty value cancels an earlier header's value. No earlier header applies here.
	if (record->value_length == 0)
		return true;
	if (is_key(record, "path"))
		return take_name(record->value, record->value_length, extension->path, &extension->has_path);
	if (is_key(record, "linkpath"))
		return take_name(record->value, record->value_length, extension->linkname, &extension->has_linkname);
	if (is_key(record, "uid"))
		return take_id(record, &extension->uid, &extension->has_uid);
	if (is_key(record, "gid"))
		return take_id(record, &extension->gid, &extension->has_gid);
	if (is_key(record, "size")) {
		extension->has_size = true;
		return tar_parse_decimal(record->value, record->value_length, TAR_MAX_SIZE, &extension->size);
	}
	if (is_key(record, "mtime")) {
		extension->has_mtime = true;
		return tar_parse_time(record->value, record->value_length, &extension->mtime);
	}
	return true;
}

static bool take_records(struct tar_extension *extension)
{
	struct record record;

	for (size_t at = 0; at < extension->length; at += record.size) {
		if (!parse_record(extension->records + at, extension->length - at, &record) ||
		    !take_record(extension, &record))
			return false;
	}
	return true;
}

bool tar_extension_take(struct tar_extension *extension, char type, char *text, size_t length)
{
	bool taken;

	if (type == 'x') {
		free(extension->records);
		extension->records = text;
		extension->length = length;
		return take_records(extension);
	}
	length = strnlen(text, length);
	taken = type == 'L' ? take_name(text, length, extension->path, &extension->has_path) :
			      take_name(text, length, extension->linkname, &extension->has_linkname);
	free(text);
	return taken;
}

void tar_extension_each_xattr(const struct tar_extension *extension, tar_xattr_function *act, void *owner)
{
	static const char prefix[] = "SCHILY.xattr.";
	const size_t prefix_length = sizeof prefix - 1;
	struct record record;

	for (size_t at = 0; at < extension->length; at += record.size) {
		char name[MAX_XATTR_NAME + 1];

		if (!parse_record(extension->records + at, extension->length - at, &record))
			return;
		if (record.key_length <= prefix_length || record.key_length - prefix_length > MAX_XATTR_NAME ||
		    memcmp(record.key, prefix, prefix_length) != 0 ||
		    memchr(record.key, '\0', record.key_length) != NULL)
			continue;
		memcpy(name, record.key + prefix_length, record.key_length - prefix_length);
		name[record.key_length - prefix_length] = '\0';
		act(owner, name, record.value, record.value_length);
	}
}

void tar_extension_forget(struct tar_extension *extension)
{
	free(extension->records);
	*extension = (struct tar_extension){ 0 };
}
